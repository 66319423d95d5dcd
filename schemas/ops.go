package schemas

import _ "embed" // for OpsOpenAPI

// OpsOpenAPI is the OpenAPI 3.1 document of the ops API, which the consumers serve.
//
//go:embed ops-openapi.json
var OpsOpenAPI []byte
