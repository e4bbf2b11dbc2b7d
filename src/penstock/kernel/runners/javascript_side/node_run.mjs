// Drives `node:test` of the running Node (>= 20) through `run`: one order from standard input. Each file is a process
// of its own, which has neither the descriptor nor the nonce.
//
// What a child reports to us comes over its standard output, which is its own: within one process nothing can be kept
// from code that looks for it. So a test that is reported twice counts as the worse, and one that is not, as not run.
//
// Node 20 matches a name pattern against each title alone: what matches a suite runs all of it, and a subtest (`t.test`)
// is only reached when its parent matches too. So the last titles are asked for first, and a file whose wanted subtests
// were not reached is run once more for those. Node 20 also reports what did not match, which makes a collection: there
// nothing is run but the bodies of suites. Later ones match all titles joined by spaces, and stay silent about what did
// not match, so that a collection there runs the tests.

import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { run } from 'node:test'

const record = createRequire(import.meta.url)('./record.cjs')
const { CHARS_MAX, NOTHING, clip, exactly, openPipe, plain, readOrder, writerTo } = record

const AT_ONCE = 2
const STDERR_CHARS_MAX = 50_000
const FILTERED = 'test name does not match pattern'
const MATCHES_TITLES = Number(process.versions.node.split('.')[0]) < 22
const SCRIPTS = process.features.typescript ? /\.[cm]?[jt]s$/ : /\.[cm]?js$/
const NAMED_TEST = /^(?:test|test-.+|.+[._-]test)$/

const root = process.cwd()
const order = readOrder()
const tell = writerTo(openPipe(), order.nonce)

/** What Node itself takes for tests. */
function* discover(folder, isTests) {
  for (const entry of fs.readdirSync(path.join(root, folder), { withFileTypes: true })) {
    const below = path.posix.join(folder, entry.name)
    if (entry.isDirectory()) {
      if (entry.name !== 'node_modules' && !entry.name.startsWith('.') && !order.without.includes(below)) {
        yield* discover(below, isTests || entry.name === 'test')
      }
    } else if (SCRIPTS.test(entry.name) && (isTests || NAMED_TEST.test(entry.name.replace(SCRIPTS, '')))) {
      yield below
    }
  }
}

function patternsFor(chains, parents) {
  if (order.collect) return MATCHES_TITLES ? [NOTHING] : undefined
  if (!chains.length) return undefined
  if (!MATCHES_TITLES) return [exactly(chains.map(chain => chain.join(' ')))]
  return [exactly([...chains, ...parents].map(chain => chain.at(-1)))]
}

const isWithin = (chain, parent) => parent.length < chain.length && parent.every((title, at) => title === chain[at])

// --- one file --------------------------------------------------------------------------------------------------------

/** Which hook failed: Node does not say, but the line where it did does. */
function phaseOf(file, error) {
  const stack = String(error?.stack ?? '')
  const line = Number(stack.split('\n').find(each => each.includes(file))?.match(/:(\d+):\d+\)?$/)?.[1] ?? 0)
  const before = fs.readFileSync(file, 'utf8').split('\n').slice(0, line).join('\n')
  const hooks = [...before.matchAll(/\b(before|after)(?:Each)?\s*\(/g)]
  return hooks.at(-1)?.[1] === 'after' ? 'teardown' : 'setup'
}

const LAST_ERROR = /^(?:Uncaught )?(\w*(?:Error|Exception))(?: \[\w+\])?: ([^\n]*)$/gm

/** What a process that ended before any test began wrote last. */
function loadError(stderr) {
  const found = [...stderr.matchAll(LAST_ERROR)].at(-1)
  const message = found?.[2] ?? 'the file cannot be loaded'
  return { ...plain({ name: found?.[1], message }), stack: clip(stderr.slice(-CHARS_MAX)) }
}

class FileRun {
  constructor(file, chains) {
    this.file = path.join(root, file)
    this.name = file
    this.chains = chains
    this.titles = []
    this.told = new Set()
    this.passed = []
    this.stderr = ''
  }

  async go() {
    await this.pass(this.chains, [])
    const left = this.chains.filter(chain => !this.told.has(JSON.stringify(chain)))
    const parents = this.passed.filter(parent => left.some(chain => isWithin(chain, parent)))
    if (parents.length) await this.pass(left, parents)
  }

  async pass(chains, parents) {
    this.isSecond = parents.length > 0
    const events = run({ files: [this.file], concurrency: 1, testNamePatterns: patternsFor(chains, parents) })
    for await (const { type, data } of events) this.see(type, data)
  }

  see(type, data) {
    if (type === 'test:stderr') this.stderr = (this.stderr + data.message).slice(-STDERR_CHARS_MAX)
    if (type === 'test:stderr' || type === 'test:stdout') process.stdout.write(data.message)
    if (type === 'test:start') this.titles.splice(data.nesting, Infinity, data.name)
    if (type !== 'test:pass' && type !== 'test:fail') return
    const error = data.details?.error
    if (data.nesting === 0 && this.isFile(data.name)) this.endFile(error)
    else if (data.details?.type === 'suite') this.endSuite(data, error)
    else this.endTest(type, data, error)
  }

  isFile(name) {
    return name === this.file || name === this.name || path.resolve(root, name) === this.file
  }

  endFile(error) {
    const isOwn = error && (error.failureType !== 'subtestsFailed' || error.signal)
    if (!isOwn) return
    const crashed = this.told.size + this.passed.length > 0 || Boolean(error.signal)
    const why = error.signal ? plain({ message: `its process was ended by ${error.signal}` }) : loadError(this.stderr)
    tell({ t: 'file', file: this.file, errors: [why], crashed })
  }

  chainOf(data) {
    return [...this.titles.slice(0, data.nesting), data.name]
  }

  endSuite(data, error) {
    if (error?.failureType !== 'hookFailed') return
    const cause = error.cause ?? error
    tell({ t: 'suite', file: this.file, chain: this.chainOf(data), errors: [plain(cause, phaseOf(this.file, cause))] })
  }

  endTest(type, data, error) {
    const chain = this.chainOf(data)
    if (data.skip === FILTERED && !order.collect) return this.passed.push(chain)
    const key = JSON.stringify(chain)
    if (this.isSecond && this.told.has(key)) return
    if (!this.isSecond) this.told.add(key)
    tell({
      t: 'test',
      file: this.file,
      chain,
      state: this.stateOf(type, data, error),
      errors: error ? [this.errorOf(error)] : [],
      ms: Math.round(data.details?.duration_ms ?? 0),
      line: data.line ?? 0,
      inverted: false,
    })
  }

  stateOf(type, data, error) {
    if (error?.failureType === 'cancelledByParent') return 'cancelled'
    if ((data.skip ?? false) !== false || (data.todo ?? false) !== false) return 'skipped'
    return type === 'test:pass' ? 'passed' : 'failed'
  }

  errorOf(error) {
    const cause = error.cause ?? error
    return plain(cause, error.failureType === 'hookFailed' ? phaseOf(this.file, cause) : 'call')
  }
}

async function main() {
  const asked = Object.entries(order.only)
  const left = asked.length ? asked : [...discover('', false)].map(file => [file, []])
  const work = async () => {
    for (let next = left.shift(); next; next = left.shift()) await new FileRun(...next).go()
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
}

tell({ t: 'hello', version: process.versions.node })
main().then(
  () => tell({ t: 'end', note: '' }),
  error => tell({ t: 'end', note: plain(error).stack }),
)
