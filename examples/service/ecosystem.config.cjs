// pm2 start ecosystem.config.cjs, then pm2 reload service
module.exports = {
  apps: [{
    name: 'service',
    script: 'server.mjs',
    instances: 2,
    exec_mode: 'cluster',
    wait_ready: true,       // until server.mjs sends 'ready'
    listen_timeout: 15_000, // guard.ready() may take 10 s
    kill_timeout: 30_000    // DRAIN_MS and the longest request
  }]
}
