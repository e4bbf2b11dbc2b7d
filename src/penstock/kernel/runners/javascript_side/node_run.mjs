// Drives `node:test` of the running Node (>= 20) through `run`: one order from standard input. Each file is a process
// of its own, which has neither the descriptor nor the nonce.
//
// What a child reports to us comes over its standard output, which is its own: within one process nothing can be kept
// from code that looks for it. So a test that is reported twice counts as the worse, and one that is not, as not run.
//
// Node 20 matches a name pattern against the title alone, later ones against all titles joined by spaces. Node 20 also
// reports what did not match, which makes a collection: there nothing is run but the bodies of suites. Later ones stay
// silent about it, so that a collection there runs the tests.

import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { run } from 'node:test'

const { NOTHING, clip, exactly, plain, readOrder, take, writerTo } = createRequire(import.meta.url)('./record.cjs')

const AT_ONCE = 2
const STDERR_CHARS_MAX = 50_000
const FILTERED = 'test name does not match pattern'
const MATCHES_TITLES = Number(process.versions.node.split('.')[0]) < 22
const SCRIPTS = process.features.typescript ? /\.[cm]?[jt]s$/ : /\.[cm]?js$/
const NAMED_TEST = /^(?:test|test-.+|.+[._-]test)$/

const root = process.cwd()
const order = readOrder()
const tell = writerTo(Number(take('PENSTOCK_VERDICT_FD')), order.nonce)

/** What Node itself takes for tests. */
function* discover(folder, isTests) {
  for (const entry of fs.readdirSync(path.join(root, folder), { withFileTypes: true })) {
    const below = path.posix.join(folder, entry.name)
    if (entry.isDirectory()) {
      if (entry.name !== 'node_modules' && !entry.name.startsWith('.')) {
        yield* discover(below, isTests || entry.name === 'test')
      }
    } else if (SCRIPTS.test(entry.name) && (isTests || NAMED_TEST.test(entry.name.replace(SCRIPTS, '')))) {
      yield below
    }
  }
}

function patternsFor(chains) {
  if (order.collect) return MATCHES_TITLES ? [NOTHING] : undefined
  if (!chains.length) return undefined
  return [exactly(MATCHES_TITLES ? chains.flat() : chains.map(chain => chain.join(' ')))]
}

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
  return { ...plain({ name: found?.[1], message: found?.[2] ?? 'the file cannot be loaded' }), stack: clip(stderr.slice(-4000)) }
}

class FileRun {
  constructor(file, chains) {
    this.file = path.join(root, file)
    this.name = file
    this.chains = chains
    this.titles = []
    this.count = 0
    this.stderr = ''
  }

  async go() {
    const events = run({ files: [this.file], concurrency: 1, testNamePatterns: patternsFor(this.chains) })
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
    const crashed = this.count > 0 || Boolean(error.signal)
    tell({ t: 'file', file: this.file, errors: [loadError(this.stderr)], crashed })
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
    this.count += 1
    if (data.skip === FILTERED && !order.collect) return
    tell({
      t: 'test',
      file: this.file,
      chain: this.chainOf(data),
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
