// What the programs of this directory share: the order, and the pipe that records go back on.
//
// The number of the pipe is taken out of the environment, and the nonce comes with the order, so that neither is handed
// on to the processes in which tests run. Each record is one line: the nonce, a space, JSON. Whoever does not know the
// nonce writes lines that nobody believes.
//
// Node marks what it inherits as close-on-exec, but gives up at the first number above 15 that is not open. So a pipe
// is opened again, which marks it; the children of a server, whose socket cannot be opened again, close it first.
'use strict'

const fs = require('node:fs')
const path = require('node:path')

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

/** The pipe that we inherited, opened anew so that no child inherits it. */
function openPipe() {
  const inherited = Number(take('PENSTOCK_VERDICT_FD'))
  const folder = fs.existsSync('/proc/self/fd') ? '/proc/self/fd' : '/dev/fd'
  const own = fs.openSync(`${folder}/${inherited}`, 'w')
  fs.closeSync(inherited)
  return own
}

/** Options of Node by which a child closes our socket before anything of the project is loaded. */
function forgetting(fd) {
  process.env.PENSTOCK_CLOSE = `${fd}:${fs.fstatSync(fd).ino}`
  return ['--require', path.join(__dirname, 'close_socket.cjs')]
}

/** Writes records to the descriptor `fd`. Who ends us ends the tests too: what becomes of them then is not told. */
function writerTo(fd, nonce) {
  process.on('SIGTERM', () => process.exit(143))
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

module.exports = { CHARS_MAX, NOTHING, allPlain, clip, exactly, forgetting, openPipe, plain, readOrder, take, writerTo }
