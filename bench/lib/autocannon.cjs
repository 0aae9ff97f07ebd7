'use strict'

// The same load as load.lua, for machines without wrk. Arguments: url, seconds, connections, file of requests.

const { readFileSync } = require('node:fs')
const autocannon = require('autocannon')

const [url, seconds, connections, file] = process.argv.slice(2)
const requests = readFileSync(file, 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => {
    const blank = line.indexOf(' ')
    return {
      method: 'POST',
      path: '/v1/users',
      headers: {
        authorization: `Bearer ${line.slice(0, blank)}`,
        'content-type': 'application/json',
        accept: 'application/json',
        origin: 'https://app.example.com',
        'user-agent': 'keepstone-bench',
      },
      body: line.slice(blank + 1),
    }
  })

autocannon({ url, duration: Number(seconds), connections: Number(connections), timeout: 5, requests }, (error, result) => {
  if (error) throw error
  console.log(
    `RESULT ${JSON.stringify({
      requests: result['2xx'] + result.non2xx,
      seconds: result.duration,
      refused: result.non2xx,
      failed: result.errors + result.timeouts,
      p50: result.latency.p50,
      p99: result.latency.p99,
    })}`,
  )
})
