// Drives the project's own jest (>= 29): one order from standard input. What it shares with the reporter, which jest
// loads in this same process, is handed over through a symbol of `process`, and taken away before any worker starts.
//
// Tests run in workers (`workerIdleMemoryLimit` forbids jest to run them in this process), which have neither the
// descriptor nor the nonce. Nothing is cached: what a test might plant in a cache would be believed by the next run.
'use strict'

const fs = require('node:fs')
const { createRequire } = require('node:module')
const os = require('node:os')
const path = require('node:path')
const { NOTHING, exactly, openPipe, plain, readOrder, writerTo } = require('./record.cjs')

const HANDOVER = Symbol.for('penstock.tell')

const order = readOrder()
const tell = writerTo(openPipe(), order.nonce)
const root = process.cwd()
const cacheDirectory = fs.mkdtempSync(path.join(os.tmpdir(), 'penstock-jest-'))
process.on('exit', () => fs.rmSync(cacheDirectory, { recursive: true, force: true }))

function selection() {
  const chains = Object.values(order.only)
  const paths = Object.keys(order.only).map(file => path.join(root, file))
  const isNarrow = chains.length > 0 && chains.every(each => each.length > 0)
  const pattern = order.collect ? NOTHING : isNarrow ? exactly(chains.flat().map(chain => chain.join(' '))) : null
  return [
    ...(pattern ? [`--testNamePattern=${pattern.source}`] : []),
    ...(paths.length ? ['--runTestsByPath', ...paths] : []),
  ]
}

/** jest-circus as this project's jest has it, however deep its packages lie. */
function findCircus(jest) {
  let from = jest
  for (const name of ['@jest/core', 'jest-config', 'jest-circus/runner']) from = createRequire(from).resolve(name)
  return from
}

function argv() {
  return [
    '--ci',
    '--no-cache',
    '--no-watchman',
    '--no-coverage',
    '--no-notify',
    '--no-colors',
    '--passWithNoTests',
    '--bail=0',
    '--testLocationInResults',
    '--maxWorkers=2',
    '--workerIdleMemoryLimit=4GB',
    `--cacheDirectory=${cacheDirectory}`,
    `--reporters=${path.join(__dirname, 'jest_reporter.cjs')}`,
    `--testRunner=${path.join(__dirname, 'jest_test_runner.cjs')}`,
    ...selection(),
  ]
}

async function main() {
  const found = createRequire(path.join(root, 'package.json')).resolve('jest')
  const jest = require(found)
  tell({ t: 'hello', version: jest.getVersion() })
  process.env.PENSTOCK_CIRCUS = findCircus(found)
  process[HANDOVER] = tell
  await jest.run(argv(), root)
}

main().then(
  () => tell({ t: 'end', note: '' }),
  error => {
    tell({ t: 'end', note: plain(error).stack })
    process.exitCode = 1
  },
)
