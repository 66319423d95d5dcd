package schemas

import _ "embed" // for OpenAPI

// OpenAPI is the OpenAPI 3.1 document of the HTTP API, the very bytes that GET /v1/openapi.json answers.
//
//go:embed openapi.json
var OpenAPI []byte
