// The types of bodies with files.
import { createGuard, type StoredFile, type UploadedFile } from 'keepstone'
import { expect, type Equals } from './equals'

const guard = createGuard()
declare const req: import('node:http').IncomingMessage

const upload = guard.validate({
  body: { type: 'object', required: ['title'], properties: { title: { type: 'string' } } },
  payload: {
    types: ['multipart'],
    files: {
      avatar: { types: ['image/png'] },
      cover: { types: ['image/png'], optional: true },
      scans: { types: ['application/pdf'], maxCount: 5, optional: true, to: { directory: '/tmp' } },
      video: { types: ['video/*'], to: async ({ name, stream }) => (stream.resume(), { key: name }), discard: () => {} },
    },
  },
})
expect<
  Equals<
    ReturnType<typeof upload.valid>['body'],
    { title: string; avatar: UploadedFile; cover?: UploadedFile; scans: StoredFile[]; video: { key: string } }
  >
>()
const alone = guard.securityStack({ payload: { types: ['multipart'], files: { a: { types: ['*/*'] } } } })
expect<Equals<ReturnType<typeof alone.valid>['body']['a'], UploadedFile>>()
upload(req, undefined as never, () => {})

// @ts-expect-error multipart is asked for by a route
createGuard({ payload: { types: ['multipart'] } })
// @ts-expect-error the kinds are named
guard.validate({ payload: { types: ['multipart'], files: { a: { maxBytes: '1mb' } } } })
