// The same endpoints as a Node developer would write them: Fastify, pg and jose, one statement a
// request, and the token verified at each.

import Fastify from 'fastify'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import pg from 'pg'

const { DATABASE_URL, DB_POOL_SIZE, JWKS_URL, JWT_ISSUER, JWT_AUDIENCE } = process.env
const port = Number(process.argv[process.argv.indexOf('--port') + 1])

// Ids are bigint, which pg gives as text: these fit a number.
pg.types.setTypeParser(pg.types.builtins.INT8, Number)
const pool = new pg.Pool({ connectionString: DATABASE_URL, max: Number(DB_POOL_SIZE) })
const keys = createRemoteJWKSet(new URL(JWKS_URL))
const app = Fastify()

const columns = 'id, user_id, title, description, completed, created_at, updated_at'
const statements = {
  list: `SELECT ${columns} FROM tasks WHERE user_id = $1 ORDER BY id`,
  get: `SELECT ${columns} FROM tasks WHERE user_id = $1 AND id = $2`,
  create: `INSERT INTO tasks (user_id, title, description, completed) VALUES ($1, $2, $3, $4) RETURNING ${columns}`,
  patch: `UPDATE tasks SET title = coalesce($3, title), description = coalesce($4, description),
    completed = coalesce($5, completed), updated_at = now() WHERE user_id = $1 AND id = $2 RETURNING ${columns}`,
}

async function run(name, ...values) {
  return (await pool.query(statements[name], values)).rows
}

const task = {
  type: 'object',
  properties: {
    id: { type: 'integer' },
    user_id: { type: 'integer' },
    title: { type: 'string' },
    description: { type: 'string', nullable: true },
    completed: { type: 'boolean' },
    created_at: { type: 'string', format: 'date-time' },
    updated_at: { type: 'string', format: 'date-time' },
  },
}
const changes = {
  type: 'object',
  properties: {
    title: { type: 'string', minLength: 1, maxLength: 200 },
    description: { type: 'string', maxLength: 10000, nullable: true },
    completed: { type: 'boolean' },
  },
}

app.decorateRequest('owner', 0)

async function signedIn(request, reply) {
  try {
    const token = request.headers.authorization.replace(/^Bearer /i, '')
    const { payload } = await jwtVerify(token, keys, { issuer: JWT_ISSUER, audience: JWT_AUDIENCE })
    if (payload.sub !== request.params.user_id) return reply.code(403).send({ detail: 'not yours' })
    request.owner = Number(payload.sub)
  } catch {
    return reply.code(401).send({ detail: 'no valid token' })
  }
}

app.get('/ready', async () => (await pool.query('SELECT 1')).rows)

app.register(async (tasks) => {
  tasks.addHook('onRequest', signedIn)
  tasks.get('/', { schema: { response: { 200: { type: 'array', items: task } } } }, (request) =>
    run('list', request.owner))
  tasks.post('/', { schema: { body: { ...changes, required: ['title'] }, response: { 201: task } } },
    async (request, reply) => {
      const { title, description = null, completed = false } = request.body
      const [made] = await run('create', request.owner, title.trim(), description, completed)
      return reply.code(201).send(made)
    })
  tasks.get('/:task_id', { schema: { response: { 200: task } } }, async (request, reply) => {
    const [found] = await run('get', request.owner, request.params.task_id)
    return found ?? reply.code(404).send({ detail: 'no such task' })
  })
  tasks.patch('/:task_id', { schema: { body: changes, response: { 200: task } } },
    async (request, reply) => {
      const { title = null, description = null, completed = null } = request.body
      const [found] = await run('patch', request.owner, request.params.task_id, title, description, completed)
      return found ?? reply.code(404).send({ detail: 'no such task' })
    })
}, { prefix: '/api/:user_id/tasks' })

for (const name of ['SIGTERM', 'SIGINT']) process.on(name, () => process.exit())
await app.listen({ port, host: '127.0.0.1' })
