'use strict'

// Paths of routers as paths of an OpenAPI document.

/** A path that fits a template, for layers that are mounted under a path: one that digits fit. */
const SAMPLE = '0'

/**
 * The template of a router's path, `/users/:id` or `/users/{id}`: `{ path, names, loss }`. `loss`
 * is the rule that it lacks; null for a path that OpenAPI has no words for.
 */
function templateOf(text) {
  if (typeof text !== 'string') return null
  let loss
  // Fastify and Hono write a pattern behind a name, Express 4 as well: `:id(\d+)`, `:id{[0-9]+}`.
  const path = text.replace(/:(\w+)(?:\([^()]*\)|\{[^{}/]*\})?/g, (whole, name) => {
    if (whole.length > name.length + 1) loss = `the pattern of \`${name}\` in the path`
    return `{${name}}`
  })
  if (/[*()?+\\:]|\{\/|\}\}|^[^/]/.test(path)) return null
  const names = [...path.matchAll(/\{([^{}]+)\}/g)].map(([, name]) => name)
  if (new Set(names).size < names.length) return null
  return { path: path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path, names, loss }
}

/** A path that fits a template. */
const sampleOf = (path) => path.replaceAll(/\{[^{}]+\}/g, SAMPLE)

/** Two paths of routers, one mounted under the other. */
function joined(base, path) {
  const front = base.endsWith('/') ? base.slice(0, -1) : base
  return path === '/' && front !== '' ? front : front + path
}

module.exports = { joined, sampleOf, templateOf }
