// Compiles the type tests in every way a user may: TypeScript 5.9 and 7, @types/express 4 and 5,
// nodenext and bundler. Usage: node scripts/types.mjs

import { run } from './lib.mjs'

const compilers = ['typescript-5', 'typescript']
const projects = ['tsconfig', 'tsconfig.express-4', 'tsconfig.bundler', 'tsconfig.plain']

for (const compiler of compilers) {
  for (const project of projects) {
    run(process.execPath, [`node_modules/${compiler}/bin/tsc`, '-p', `__test__/types/${project}.json`])
  }
}
