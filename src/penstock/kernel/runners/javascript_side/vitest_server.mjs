// Drives the project's own vitest (>= 4) through its Node API: one order from standard input, or one after another from
// a socket. Nothing is watched. Before each run everything that was transformed is forgotten, by content and not by
// time, so that no verdict is stale; what stays warm is vite with its plugins, and vitest itself.
//
// Tests run in child processes (`forks`), one for each file, which have neither the descriptor nor the nonce.

import fs from 'node:fs'
import { createRequire } from 'node:module'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import readline from 'node:readline'
import { pathToFileURL } from 'node:url'

const record = createRequire(import.meta.url)('./record.cjs')
const { NOTHING, allPlain, exactly, forgetting, openPipe, plain, readOrder, take, writerTo } = record

const POOLS = { threads: 'forks', vmThreads: 'vmForks' }
const DEAF = { tell: () => {} }

const root = process.cwd()
let current = DEAF

async function load() {
  const found = createRequire(path.join(root, 'package.json')).resolve('vitest/node')
  return import(pathToFileURL(found).href)
}

async function create(execArgv) {
  const { createVitest } = await load()
  const options = {
    root,
    watch: false,
    reporters: [new Reporter()],
    includeTaskLocation: true,
    cache: false,
    coverage: { enabled: false },
    api: false,
    ui: false,
    open: false,
    passWithNoTests: true,
    bail: 0,
    isolate: true,
    fileParallelism: true,
    maxWorkers: 2,
  }
  const cacheDir = fs.mkdtempSync(path.join(os.tmpdir(), 'penstock-vite-'))
  const vitest = await createVitest('test', options, {
    cacheDir,
    logLevel: 'error',
    server: { watch: null, middlewareMode: true, ws: false, hmr: false },
  })
  for (const project of [vitest.getRootProject(), ...vitest.projects]) {
    project.config.pool = POOLS[project.config.pool] ?? project.config.pool
    project.config.isolate = true
    project.config.execArgv = [...(project.config.execArgv ?? []), ...execArgv]
    project.config.snapshotOptions.updateSnapshot = 'none'
    project.config.experimental && (project.config.experimental.fsModuleCache = false)
  }
  return { vitest, dispose: () => fs.rmSync(cacheDir, { recursive: true, force: true }) }
}

// --- what is reported ------------------------------------------------------------------------------------------------

const chainOf = entity => (entity.type === 'module' ? [] : [...chainOf(entity.parent), entity.name])

function phaseOf(hooks, errors) {
  if (hooks?.beforeEach === 'run') return 'setup'
  return hooks?.afterEach === 'run' && errors.length === 1 ? 'teardown' : 'call'
}

class Reporter {
  onTestModuleCollected(module) {
    this.onTestModuleEnd(module, 'setup')
  }

  onTestCaseResult(test) {
    const result = test.result()
    const errors = result.errors ?? []
    current.tell({
      t: 'test',
      file: test.module.moduleId,
      chain: chainOf(test),
      state: test.diagnostic()?.flaky ? 'flaky' : result.state,
      errors: allPlain(errors, phaseOf(test.task?.result?.hooks, errors)),
      ms: Math.round(test.diagnostic()?.duration ?? 0),
      line: test.location?.line ?? 0,
      inverted: Boolean(test.options.fails),
    })
  }

  onTestSuiteResult(suite) {
    const errors = suite.errors()
    if (!errors.length) return
    const phase = suite.task?.result?.hooks?.beforeAll === 'run' ? 'setup' : 'teardown'
    const chain = suite.type === 'module' ? [] : chainOf(suite)
    current.tell({ t: 'suite', file: (suite.module ?? suite).moduleId, chain, errors: allPlain(errors, phase) })
  }

  onTestModuleEnd(module) {
    const errors = module.errors()
    if (!errors.length) return
    if (module.children.size) this.onTestSuiteResult(module)
    else current.tell({ t: 'file', file: module.moduleId, errors: allPlain(errors), crashed: false })
  }

  onUserConsoleLog(log) {
    current.tell({ t: 'output', text: log.content })
  }

  onTestRunEnd(modules, strays) {
    const unfinished = modules.filter(module => ['queued', 'pending'].includes(module.state()))
    for (const module of unfinished) current.tell({ t: 'file', file: module.moduleId, errors: [], crashed: true })
    for (const stray of strays) {
      const crashed = !stray.VITEST_TEST_PATH && /^\[vitest-pool/.test(`${stray.message}`)
      const file = stray.VITEST_TEST_PATH ?? ''
      const chain = stray.VITEST_TEST_NAME ? [stray.VITEST_TEST_NAME] : []
      current.tell({ t: 'stray', file, chain, errors: [plain(stray)], crashed })
    }
  }
}

// --- one run ---------------------------------------------------------------------------------------------------------

function forget(vitest) {
  for (const { vite } of [vitest.getRootProject(), ...vitest.projects]) {
    for (const environment of Object.values(vite.environments)) environment.moduleGraph.invalidateAll()
  }
  vitest.clearSpecificationsCache()
  vitest.clearAllCachePaths?.()
  vitest.state.filesMap.clear()
  vitest.state.clearErrors()
}

async function specifications(vitest, order) {
  const found = await vitest.globTestSpecifications()
  const wanted = new Map(Object.entries(order.only).map(([file, chains]) => [path.join(root, file), chains]))
  const others = order.without.map(folder => path.join(root, folder, '/'))
  const isOurs = ({ moduleId }) => !others.some(folder => moduleId.startsWith(folder))
  const chosen = found.filter(wanted.size ? each => wanted.has(each.moduleId) : isOurs)
  return chosen.map(each => {
    const chains = wanted.get(each.moduleId) ?? []
    const pattern = order.collect ? NOTHING : chains.length ? exactly(chains.map(chain => chain.join(' '))) : null
    return pattern ? each.project.createSpecification(each.moduleId, { testNamePattern: pattern }) : each
  })
}

async function obey(vitest, order, tell) {
  current = { tell }
  try {
    forget(vitest)
    await vitest.runTestSpecifications(await specifications(vitest, order), false)
    tell({ t: 'end', note: '' })
  } catch (error) {
    tell({ t: 'end', note: plain(error).stack })
  } finally {
    current = DEAF
  }
}

async function once() {
  const order = readOrder()
  const tell = writerTo(openPipe(), order.nonce)
  let made
  try {
    made = await create([])
    tell({ t: 'hello', version: made.vitest.version })
  } catch (error) {
    return tell({ t: 'end', note: plain(error).stack })
  }
  await obey(made.vitest, order, tell)
  made.dispose()
  process.exit(0)
}

async function serve(fd) {
  const socket = new net.Socket({ fd })
  const leave = () => process.exit(0)
  socket.on('close', leave).on('error', leave)
  let made
  for await (const line of readline.createInterface({ input: socket })) {
    const order = JSON.parse(line)
    const tell = record => socket.write(`${order.nonce} ${JSON.stringify(record)}\n`)
    try {
      made ??= await create(forgetting(fd))
      tell({ t: 'hello', version: made.vitest.version })
    } catch (error) {
      tell({ t: 'end', note: plain(error).stack })
      continue
    }
    await obey(made.vitest, order, tell)
  }
  made?.dispose()
  leave()
}

process.exitCode = 0
const fd = take('PENSTOCK_SERVE_FD')
await (fd ? serve(Number(fd)) : once())
