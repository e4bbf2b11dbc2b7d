// Loaded by every worker of vitest before anything of the project: closes the server's socket, if Node let it through.
// By --require, for --import makes vitest evaluate modules in another way, and find itself twice.

const fs = require('node:fs')

const [fd, ino] = (process.env.PENSTOCK_CLOSE ?? '').split(':').map(Number)
delete process.env.PENSTOCK_CLOSE
try {
  const stat = fs.fstatSync(fd)
  if (stat.isSocket() && stat.ino === ino) fs.closeSync(fd)
} catch {
  // it is not open here
}
