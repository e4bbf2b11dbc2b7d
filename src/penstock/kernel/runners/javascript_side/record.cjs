// What the programs of this directory share: the order, and the pipe that records go back on.
//
// The number of the pipe is taken out of the environment, and the nonce comes with the order, so that neither is handed
// on to the processes in which tests run; Node marks the descriptor as close-on-exec by itself. Each record is one line:
// the nonce, a space, JSON. Whoever does not know the nonce writes lines that nobody believes.
'use strict'

const fs = require('node:fs')

const CHARS_MAX = 4000
const ERRORS_MAX = 10

function take(name) {
  const value = process.env[name]
  delete process.env[name]
  return value
}

/** The order that lies on standard input, which is then put out of reach. */
function readOrder() {
  const order = JSON.parse(fs.readFileSync(0, 'utf8'))
  fs.closeSync(0)
  fs.openSync('/dev/null')
  return order
}

/** Writes records to the descriptor `fd`. */
function writerTo(fd, nonce) {
  return record => {
    let line = Buffer.from(`${nonce} ${JSON.stringify(record)}\n`)
    while (line.length) {
      try {
        line = line.subarray(fs.writeSync(fd, line))
      } catch (error) {
        if (error.code !== 'EAGAIN') return
      }
    }
  }
}

/** Matches exactly these texts. */
function exactly(texts) {
  const escaped = texts.map(text => text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&'))
  return new RegExp(`^(?:${escaped.join('|')})$`)
}

const NOTHING = /(?!)/

const clip = value => String(value ?? '').slice(0, CHARS_MAX)

const ASSERTIONS = new Set(['AssertionError', 'JestAssertionError'])

/** An error in plain words; anything can be thrown. */
function plain(error, phase = 'call') {
  if (error === null || typeof error !== 'object') error = { message: error }
  const names = [error.name, error.constructor?.name, /^\w+/.exec(String(error.stack ?? ''))?.[0]].map(String)
  const isAssertion =
    names.some(name => ASSERTIONS.has(name)) || error.code === 'ERR_ASSERTION' || error.matcherResult !== undefined
  const own = names.find(name => name !== 'Error' && /(Error|Exception)$/.test(name))
  return {
    name: clip(own ?? (isAssertion ? 'AssertionError' : names[0] === 'undefined' ? 'Error' : names[0])),
    message: clip(error.message),
    stack: clip(error.stack),
    assertion: isAssertion,
    phase,
  }
}

const allPlain = (errors, phase) => [...(errors ?? [])].slice(0, ERRORS_MAX).map(error => plain(error, phase))

module.exports = { NOTHING, allPlain, clip, exactly, plain, readOrder, take, writerTo }
