package rest

import "cartstream/schemas/env"

// Settings are what the environment says about the HTTP API.
type Settings = env.HTTP

// Origins are those of the pages that may call, besides the pages of the same host.
type Origins = env.Origins
