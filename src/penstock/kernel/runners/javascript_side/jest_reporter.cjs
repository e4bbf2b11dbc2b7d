// A reporter of jest: says on our pipe what each test did, as soon as its file or the test itself has ended.
'use strict'

const { clip, plain } = require('./record.cjs')

const HANDOVER = Symbol.for('penstock.tell')
const STATES = { passed: 'passed', failed: 'failed', pending: 'skipped', skipped: 'skipped', todo: 'skipped' }

function errorsOf(found) {
  if (found.penstock) return found.penstock
  const messages = found.failureMessages ?? []
  return messages.map(stack => plain({ message: stack.replace(/\n\s+at [^]*$/, ''), stack }))
}

/** What jest says of a file that could not be run; a worker that died has no error of its own. */
function fileError(result) {
  const error = result.testExecError ?? {}
  const stack = clip(error.stack || result.failureMessage)
  const name = error.type ?? /^(\w+Error)\b/.exec(stack)?.[1] ?? error.name
  return plain({ ...error, name, stack, message: error.message || stack })
}

class Reporter {
  constructor() {
    this.tell = process[HANDOVER] ?? (() => {})
    delete process[HANDOVER]
  }

  onTestCaseResult(test, found) {
    if (found.status !== 'pending') this.say(test.path, found, true)
  }

  onTestFileResult(test, result) {
    for (const found of result.testResults) this.say(test.path, found, false)
    if (result.testResults.length || !(result.testExecError || result.failureMessage)) return
    const why = result.failureMessage ?? ''
    if (/must contain at least one test/.test(why)) return
    const crashed = /worker process .*(terminated|crashed)|exitCode=/i.test(why)
    this.tell({ t: 'file', file: test.path, errors: [fileError(result)], crashed })
  }

  say(file, found, provisional) {
    this.tell({
      t: 'test',
      file,
      chain: [...found.ancestorTitles, found.title],
      state: found.retryReasons?.length && found.status === 'passed' ? 'flaky' : (STATES[found.status] ?? 'skipped'),
      errors: errorsOf(found),
      ms: Math.round(found.duration ?? 0),
      line: found.location?.line ?? 0,
      inverted: Boolean(found.failing),
      asserts: found.numPassingAsserts ?? -1,
      provisional,
    })
  }

  getLastError() {}
}

module.exports = Reporter
