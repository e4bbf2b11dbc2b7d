// jest-circus with open eyes: it notes which error came from a hook and which from the test itself, while the errors
// still are what was thrown. It runs in jest's worker, outside the context of the tests.
'use strict'

const { plain, take } = require('./record.cjs')

const loaded = require(take('PENSTOCK_CIRCUS'))
const circus = loaded.default ?? loaded
const PHASES = { beforeAll: 'setup', beforeEach: 'setup', afterAll: 'teardown', afterEach: 'teardown' }

/** jest keeps an error as [what was thrown, where it was asked for]. */
const thrown = error => (Array.isArray(error) ? (error[0] ?? error[1]) : error)

function below(block, found = []) {
  for (const child of block.children) child.type === 'describeBlock' ? below(child, found) : found.push(child)
  return found
}

class Notes {
  constructor() {
    this.tests = new Map()
    this.all = []
  }

  add(test, error, phase) {
    const noted = this.tests.get(test) ?? []
    this.tests.set(test, [...noted, plain(thrown(error), phase)])
  }

  see(event, state) {
    if (event.name === 'run_finish') this.all = below(state.rootDescribeBlock)
    if (event.name === 'test_fn_failure') this.add(event.test, event.error, 'call')
    if (event.name !== 'hook_failure') return
    const phase = PHASES[event.hook.type]
    for (const test of event.test ? [event.test] : below(event.describeBlock)) this.add(test, event.error, phase)
  }

  /** Hand the notes to the results, which stand in the order of the tests. */
  attach(results) {
    results.forEach((found, at) => {
      const test = this.all[at]
      if (test?.name === found.title && this.tests.has(test)) found.penstock = this.tests.get(test)
    })
  }
}

module.exports = async (globalConfig, config, environment, runtime, testPath, send) => {
  const notes = new Notes()
  const own = environment.handleTestEvent
  environment.handleTestEvent = (event, state) => {
    notes.see(event, state)
    return own?.call(environment, event, state)
  }
  const result = await circus(globalConfig, config, environment, runtime, testPath, send)
  notes.attach(result.testResults)
  return result
}
