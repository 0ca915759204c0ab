#include "services/gateway/openapi_schemas.h"

namespace weft::gateway {

std::string_view OpenApiSchemas() {
  return R"json({
"Error": {"examples": [{"error": {"message": "Missing required parameter: 'model'.", "type": "invalid_request_error", "param": "model", "code": "missing_required_parameter"}}],
  "type": "object", "required": ["error"], "properties": {"error": {"type": "object",
  "required": ["message", "type", "param", "code"], "properties": {
    "message": {"type": "string"}, "type": {"type": "string"},
    "param": {"type": ["string", "null"], "description": "the request's member at fault"},
    "code": {"type": ["string", "null"]}}}}},
"ContentPart": {"type": "object", "required": ["type", "text"], "additionalProperties": false, "properties": {
  "type": {"const": "text"}, "text": {"type": "string"}}},
"ChatMessage": {"type": "object", "required": ["role", "content"], "properties": {
  "role": {"enum": ["system", "developer", "user", "assistant", "tool", "function"]},
  "content": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#/components/schemas/ContentPart"}}]},
  "name": {"type": "string", "maxLength": 64}, "tool_call_id": {"type": "string"}},
  "allOf": [{"if": {"properties": {"role": {"const": "tool"}}, "required": ["role"]}, "then": {"required": ["tool_call_id"]}},
    {"if": {"properties": {"role": {"const": "function"}}, "required": ["role"]}, "then": {"required": ["name"]}}]},
"Stop": {"description": "strings of 1 to 256 bytes of UTF-8", "oneOf": [
  {"type": "string", "minLength": 1, "maxLength": 256}, {"type": "null"},
  {"type": "array", "maxItems": 16, "items": {"type": "string", "minLength": 1, "maxLength": 256}}]},
"Sampling": {"type": "object",
  "if": {"properties": {"stream_options": {"type": "object"}}, "required": ["stream_options"]},
  "then": {"properties": {"stream": {"const": true}}, "required": ["stream"]}, "properties": {
  "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2, "default": 1},
  "top_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1, "default": 1},
  "presence_penalty": {"type": ["number", "null"], "minimum": -2, "maximum": 2, "default": 0},
  "frequency_penalty": {"type": ["number", "null"], "minimum": -2, "maximum": 2, "default": 0},
  "seed": {"type": ["integer", "null"], "description": "the same seed and request give the same text"},
  "stop": {"$ref": "#/components/schemas/Stop"},
  "logit_bias": {"type": ["object", "null"], "maxProperties": 1024, "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100}},
  "n": {"type": ["integer", "null"], "minimum": 1, "default": 1},
  "stream": {"type": ["boolean", "null"], "default": false},
  "stream_options": {"type": ["object", "null"], "properties": {"include_usage": {"type": "boolean"}}},
  "user": {"type": ["string", "null"], "maxLength": 512},
  "priority": {"enum": ["low", "normal", "high", null], "default": "normal", "description": "higher goes first where there is a queue; a key asks for at most its own highest"},
  "top_k": {"type": ["integer", "null"], "minimum": 0, "description": "0 is off; beyond OpenAI's API, as the five below"},
  "min_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
  "repetition_penalty": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 10},
  "min_tokens": {"type": ["integer", "null"], "minimum": 0},
  "ignore_eos": {"type": ["boolean", "null"]},
  "stop_token_ids": {"type": ["array", "null"], "maxItems": 64, "items": {"type": "integer", "minimum": 0}}}},
"ChatCompletionRequest": {"examples": [{"model": "default", "messages": [{"role": "user", "content": "Write a function that reverses a list."}], "max_tokens": 64}],
  "type": "object", "required": ["model", "messages"],
  "allOf": [{"$ref": "#/components/schemas/Sampling"}], "properties": {
  "model": {"type": "string", "maxLength": 256},
  "messages": {"type": "array", "minItems": 1, "maxItems": 2048, "items": {"$ref": "#/components/schemas/ChatMessage"}},
  "max_completion_tokens": {"type": ["integer", "null"], "minimum": 1},
  "max_tokens": {"type": ["integer", "null"], "minimum": 1, "description": "the older name of max_completion_tokens"},
  "service_tier": {"enum": ["auto", "default", "flex", "priority", "fast", null], "description": "flex is the priority low, priority and fast are high; the answer names the one it had"},
  "logprobs": {"type": ["boolean", "null"], "default": false},
  "top_logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": 20}}},
"CompletionRequest": {"examples": [{"model": "default", "prompt": "def add(a, b):", "max_tokens": 16}],
  "type": "object", "required": ["model"],
  "allOf": [{"$ref": "#/components/schemas/Sampling"}], "properties": {
  "model": {"type": "string", "maxLength": 256},
  "prompt": {"description": "null or empty: the model begins a document", "oneOf": [{"type": ["string", "null"]},
    {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
    {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 16},
    {"type": "array", "items": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}, "minItems": 1, "maxItems": 16}]},
  "suffix": {"type": ["string", "null"], "description": "what comes after the text: the model fills in between"},
  "max_tokens": {"type": ["integer", "null"], "minimum": 0, "default": 16, "description": "0: the prompt is computed, and scored with echo and logprobs"},
  "logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": 20},
  "echo": {"type": ["boolean", "null"], "default": false},
  "best_of": {"type": ["integer", "null"], "minimum": 1, "description": "so many are run, and the n likeliest of each prompt are answered; not with stream"}}},
"InfillRequest": {"examples": [{"input_prefix": "def add(a, b):\n    ", "input_suffix": "\n", "n_predict": 16}],
  "type": "object", "required": ["input_prefix", "input_suffix"],
  "description": "other members of llama.cpp's requests are accepted without effect", "properties": {
  "input_prefix": {"type": "string"}, "input_suffix": {"type": "string"},
  "input_extra": {"type": ["array", "null"], "maxItems": 1024, "items": {"type": "object", "required": ["text"], "properties": {
    "filename": {"type": ["string", "null"]}, "text": {"type": "string"}}}, "description": "other files, those that matter most last"},
  "prompt": {"type": ["string", "null"], "description": "the beginning of the answer, not repeated in it"},
  "filename": {"type": ["string", "null"], "description": "of the file that is edited; beyond llama.cpp, as repository"},
  "repository": {"type": ["string", "null"]},
  "model": {"type": ["string", "null"], "maxLength": 256},
  "n_predict": {"type": ["integer", "null"], "minimum": -1, "default": 128, "description": "-1: as many as fit, 0: only the prompt is computed and cached"},
  "n_cmpl": {"type": ["integer", "null"], "minimum": 1, "default": 1},
  "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2, "default": 0.8},
  "top_k": {"type": ["integer", "null"], "minimum": 0, "default": 40},
  "top_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1, "default": 0.95},
  "min_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1, "default": 0.05},
  "repeat_penalty": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 10, "default": 1},
  "presence_penalty": {"type": ["number", "null"], "minimum": -2, "maximum": 2, "default": 0},
  "frequency_penalty": {"type": ["number", "null"], "minimum": -2, "maximum": 2, "default": 0},
  "ignore_eos": {"type": ["boolean", "null"]}, "seed": {"type": ["integer", "null"], "minimum": -1},
  "stop": {"$ref": "#/components/schemas/Stop"}, "stream": {"type": ["boolean", "null"], "default": false},
  "priority": {"enum": ["low", "normal", "high", null], "default": "normal"},
  "response_fields": {"type": ["array", "null"], "maxItems": 64, "items": {"type": "string"}, "description": "only these members of the answer; a/b is the member b of a, under that name"}}},
"InfillResponse": {"type": "object", "properties": {
  "index": {"type": "integer"}, "content": {"type": "string"}, "tokens": {"type": "array", "items": {"type": "integer"}},
  "stop": {"type": "boolean"}, "model": {"type": "string"}, "tokens_predicted": {"type": "integer"}, "tokens_evaluated": {"type": "integer"},
  "has_new_line": {"type": "boolean"}, "truncated": {"type": "boolean"}, "stop_type": {"enum": ["eos", "word", "limit", "none"]},
  "stopping_word": {"type": "string"}, "tokens_cached": {"type": "integer"},
  "timings": {"type": "object", "additionalProperties": {"type": "number"}}, "weft": {"$ref": "#/components/schemas/Weft"}}},
"Usage": {"type": "object", "required": ["prompt_tokens", "completion_tokens", "total_tokens"], "properties": {
  "prompt_tokens": {"type": "integer"}, "completion_tokens": {"type": "integer"}, "total_tokens": {"type": "integer"},
  "prompt_tokens_details": {"type": "object"}, "completion_tokens_details": {"type": "object"}}},
"Finding": {"type": "object", "properties": {"rule": {"type": "string"}, "type": {"type": "string"},
  "category": {"enum": ["code", "prompt", "secret"]}, "severity": {"enum": ["info", "low", "medium", "high", "critical"]},
  "line": {"type": "integer"}, "message": {"type": "string"}, "match": {"type": "string"}}},
"Weft": {"type": "object", "description": "what the security scanner found, when it found something", "properties": {
  "content_filter": {"$ref": "#/components/schemas/Finding"},
  "findings": {"type": "array", "items": {"$ref": "#/components/schemas/Finding"}},
  "prompt_findings": {"type": "array", "items": {"$ref": "#/components/schemas/Finding"}},
  "prompt_redacted": {"type": "boolean"}, "prompt_sanitized": {"type": "boolean"}}},
"ChatCompletion": {"type": "object", "required": ["id", "object", "created", "model", "choices"], "properties": {
  "id": {"type": "string"}, "object": {"const": "chat.completion"}, "created": {"type": "integer"}, "model": {"type": "string"},
  "system_fingerprint": {"type": ["string", "null"]}, "service_tier": {"enum": ["default", "flex", "priority"]},
  "choices": {"type": "array", "items": {"type": "object", "required": ["index", "message", "finish_reason"], "properties": {
    "index": {"type": "integer"}, "message": {"type": "object"}, "logprobs": {"type": ["object", "null"]},
    "finish_reason": {"enum": ["stop", "length", "content_filter"]}, "weft": {"$ref": "#/components/schemas/Weft"}}}},
  "usage": {"$ref": "#/components/schemas/Usage"}, "weft": {"$ref": "#/components/schemas/Weft"}}},
"Completion": {"type": "object", "required": ["id", "object", "created", "model", "choices"], "properties": {
  "id": {"type": "string"}, "object": {"const": "text_completion"}, "created": {"type": "integer"}, "model": {"type": "string"},
  "system_fingerprint": {"type": ["string", "null"]},
  "choices": {"type": "array", "items": {"type": "object", "required": ["index", "text", "finish_reason"], "properties": {
    "index": {"type": "integer"}, "text": {"type": "string"}, "logprobs": {"type": ["object", "null"]},
    "finish_reason": {"enum": ["stop", "length", "content_filter"]}, "weft": {"$ref": "#/components/schemas/Weft"}}}},
  "usage": {"$ref": "#/components/schemas/Usage"}, "weft": {"$ref": "#/components/schemas/Weft"}}},
"Model": {"type": "object", "required": ["id", "object", "created", "owned_by"], "properties": {
  "id": {"type": "string"}, "object": {"const": "model"}, "created": {"type": "integer"}, "owned_by": {"type": "string"},
  "weft": {"type": "object", "properties": {"version": {"type": "string"}, "architecture": {"type": "string"},
    "quantization": {"type": "string"}, "parameter_count": {"type": "integer"}, "context_length": {"type": "integer"},
    "vocab_size": {"type": "integer"}, "memory_bytes": {"type": "integer"}}}}},
"ModelList": {"type": "object", "required": ["object", "data"], "properties": {"object": {"const": "list"},
  "data": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}}}},
"GenerateRequest": {"examples": [{"prompt": "A function that adds two numbers", "max_tokens": 64, "language": "python"}],
  "type": "object", "required": ["prompt"], "additionalProperties": false, "properties": {
  "prompt": {"type": "string", "minLength": 1}, "max_tokens": {"type": ["integer", "null"], "minimum": 1, "default": 256},
  "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2, "default": 0.7},
  "top_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1, "default": 0.9},
  "language": {"type": ["string", "null"], "maxLength": 64}, "model": {"type": ["string", "null"], "maxLength": 256},
  "seed": {"type": ["integer", "null"]}, "stop": {"$ref": "#/components/schemas/Stop"}}},
"GenerateResponse": {"examples": [{"generated_code": "def add(a, b):\n    return a + b", "tokens_generated": 12, "generation_time_ms": 150.5, "model_version": "b179c9523d0e", "finish_reason": "stop"}],
  "type": "object", "required": ["generated_code", "tokens_generated", "generation_time_ms", "model_version"], "properties": {
  "generated_code": {"type": "string"}, "tokens_generated": {"type": "integer"}, "generation_time_ms": {"type": "number"},
  "model_version": {"type": "string"}, "finish_reason": {"enum": ["stop", "length", "content_filter"]},
  "weft": {"$ref": "#/components/schemas/Weft"}}},
"PredictRequest": {"examples": [{"model_id": "default", "input": "What is a list?"}],
  "type": "object", "required": ["input"], "additionalProperties": false, "properties": {
  "model_id": {"type": ["string", "null"], "default": "default", "maxLength": 256}, "input": {"type": "string", "minLength": 1}}},
"PredictResponse": {"examples": [{"prediction": "A list is a sequence.", "request_id": "req_0123456789abcdef"}],
  "type": "object", "required": ["prediction", "request_id"], "properties": {
  "prediction": {"type": "string"}, "request_id": {"type": "string"}, "weft": {"$ref": "#/components/schemas/Weft"}}},
"Health": {"examples": [{"status": "healthy", "model_loaded": true}],
  "type": "object", "required": ["status", "model_loaded"], "properties": {
  "status": {"const": "healthy"}, "model_loaded": {"type": "boolean"}}},
"Readiness": {"examples": [{"status": "ready"}],
  "type": "object", "required": ["status"], "properties": {
  "status": {"enum": ["ready", "not_ready"]}, "detail": {"type": "string"}}},
"ApiHealth": {"type": "object", "required": ["status", "timestamp", "version"], "properties": {
  "status": {"const": "healthy"}, "timestamp": {"type": "string", "format": "date-time"}, "version": {"type": "string"}}},
"CreateKeyRequest": {"examples": [{"name": "continuous integration", "role": "developer", "requests_per_minute": 100}],
  "type": "object", "required": ["name"], "additionalProperties": false, "properties": {
  "name": {"type": "string", "minLength": 1, "maxLength": 100}, "tenant": {"type": ["string", "null"], "pattern": "^[A-Za-z0-9._-]{0,100}$", "description": "left out: one's own, or default for those who may act on every tenant"},
  "role": {"type": ["string", "null"], "default": "developer", "description": "admin, operator, developer, viewer, auditor or a custom role; several are separated by commas"},
  "requests_per_minute": {"type": ["integer", "null"], "minimum": 1, "maximum": 1000000, "default": 60},
  "max_priority": {"enum": ["low", "normal", "high", null], "default": null, "description": "the highest priority it may ask for; null: what its role may"},
  "expires_at": {"type": ["integer", "null"], "minimum": 0, "description": "Unix seconds; 0 = never", "default": 0},
  "project": {"type": ["string", "null"], "pattern": "^[A-Za-z0-9._-]{1,100}$"},
  "scopes": {"type": ["array", "null"], "maxItems": 256, "items": {"type": "string", "maxLength": 256}, "description": "permissions it keeps of its roles'; empty: all"},
  "allowed_ips": {"type": ["array", "null"], "maxItems": 256, "items": {"type": "string", "maxLength": 256}, "description": "addresses and networks it may be used from; empty: any"},
  "allowed_models": {"type": ["array", "null"], "maxItems": 256, "items": {"type": "string", "maxLength": 256}, "description": "ids, or beginnings with * at the end; empty: all of its roles'"}}},
"RotateKeyRequest": {"examples": [{"overlap_seconds": 3600}],
  "type": "object", "additionalProperties": false, "properties": {
  "overlap_seconds": {"type": ["integer", "null"], "minimum": 0, "maximum": 7776000, "default": 86400, "description": "how long the old key stays good"}}},
"Key": {"type": "object", "required": ["id", "name", "tenant", "role", "requests_per_minute", "created_at", "revoked"], "properties": {
  "object": {"const": "api_key"}, "id": {"type": "string"}, "name": {"type": "string"}, "tenant": {"type": "string"},
  "role": {"type": "string"}, "requests_per_minute": {"type": "integer"},
  "max_priority": {"enum": ["low", "normal", "high", null]}, "project": {"type": ["string", "null"]},
  "scopes": {"type": "array", "items": {"type": "string"}}, "allowed_ips": {"type": "array", "items": {"type": "string"}},
  "allowed_models": {"type": "array", "items": {"type": "string"}}, "replaces": {"type": ["string", "null"], "description": "the id of the key that it came after"},
  "created_at": {"type": "integer"}, "expires_at": {"type": "integer"}, "last_used_at": {"type": "integer"}, "revoked": {"type": "boolean"}}},
"CreatedKey": {"allOf": [{"$ref": "#/components/schemas/Key"}], "type": "object", "required": ["secret"], "properties": {
  "secret": {"type": "string", "description": "the key itself; it is not kept"},
  "signing_secret": {"type": "string", "description": "for signed requests; it is not kept either"}}},
"LoginRequest": {"examples": [{"username": "ann", "password": "correct horse battery staple"}],
  "type": "object", "required": ["username", "password"], "additionalProperties": false, "properties": {
  "username": {"type": "string", "minLength": 1, "maxLength": 128}, "password": {"type": "string", "minLength": 1, "maxLength": 1024},
  "tenant": {"type": ["string", "null"], "maxLength": 100, "default": "default"},
  "session": {"type": ["boolean", "null"], "default": false, "description": "a browser's session in cookies instead of a token"}}},
"LoginResponse": {"type": "object", "required": ["token_type", "expires_in"], "properties": {
  "access_token": {"type": "string"}, "token_type": {"enum": ["bearer", "session"]}, "expires_in": {"type": "integer"},
  "csrf_token": {"type": "string", "description": "of a session: goes into X-CSRF-Token"}}},
"SignedOut": {"type": "object", "required": ["status"], "properties": {"status": {"const": "signed_out"}}},
"Identity": {"examples": [{"subject": "user:ann", "name": "ann", "tenant": "default", "project": null, "roles": ["developer"], "permissions": ["self:read", "models:use", "models:read"], "auth_method": "token"}],
  "type": "object", "required": ["subject", "name", "tenant", "roles", "permissions", "auth_method"], "properties": {
  "subject": {"type": "string"}, "name": {"type": "string"}, "tenant": {"type": "string"}, "project": {"type": ["string", "null"]},
  "roles": {"type": "array", "items": {"type": "string"}}, "permissions": {"type": "array", "items": {"type": "string"}},
  "auth_method": {"enum": ["api_key", "signature", "token", "oidc", "session", "certificate"]}}},
"KeyList": {"type": "object", "required": ["object", "data"], "properties": {"object": {"const": "list"},
  "data": {"type": "array", "items": {"$ref": "#/components/schemas/Key"}}}},
"RevokedKey": {"type": "object", "required": ["id", "revoked"], "properties": {
  "object": {"const": "api_key"}, "id": {"type": "string"}, "revoked": {"const": true}}},
"Cache": {"type": "object", "required": ["object", "enabled"], "properties": {
  "object": {"const": "cache"}, "enabled": {"type": "boolean"}, "entries": {"type": "integer", "minimum": 0},
  "bytes": {"type": "integer", "minimum": 0}, "evictions": {"type": "integer", "minimum": 0},
  "hits": {"type": "integer", "minimum": 0}, "misses": {"type": "integer", "minimum": 0},
  "coalesced": {"type": "integer", "minimum": 0}}},
"InvalidateCacheRequest": {"type": "object", "additionalProperties": false, "properties": {
  "tenant": {"type": "string", "maxLength": 100}, "model": {"type": "string", "maxLength": 256},
  "pattern": {"type": "string", "maxLength": 1024}, "all": {"type": "boolean"}}},
"InvalidatedCache": {"type": "object", "required": ["object", "invalidated"], "properties": {
  "object": {"const": "cache.invalidation"}, "invalidated": {"type": "integer", "minimum": 0}}}
})json";
}

}  // namespace weft::gateway
