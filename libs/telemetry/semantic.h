// Attribute names from OpenTelemetry's semantic conventions (GenAI, HTTP, RPC) and our own under
// "weft.". Content of prompts and answers is never an attribute.
#pragma once

namespace weft::telemetry::semantic {

inline constexpr char kGenAiOperation[] = "gen_ai.operation.name";  // "chat", "text_completion"
inline constexpr char kGenAiProvider[] = "gen_ai.provider.name";    // "weft"
inline constexpr char kGenAiRequestModel[] = "gen_ai.request.model";
inline constexpr char kGenAiResponseModel[] = "gen_ai.response.model";
inline constexpr char kGenAiResponseId[] = "gen_ai.response.id";
inline constexpr char kGenAiFinishReasons[] = "gen_ai.response.finish_reasons";  // list of text
inline constexpr char kGenAiInputTokens[] = "gen_ai.usage.input_tokens";
inline constexpr char kGenAiOutputTokens[] = "gen_ai.usage.output_tokens";
inline constexpr char kGenAiMaxTokens[] = "gen_ai.request.max_tokens";
inline constexpr char kGenAiTemperature[] = "gen_ai.request.temperature";
inline constexpr char kGenAiTopP[] = "gen_ai.request.top_p";
inline constexpr char kGenAiTopK[] = "gen_ai.request.top_k";
inline constexpr char kGenAiSeed[] = "gen_ai.request.seed";
inline constexpr char kGenAiChoiceCount[] = "gen_ai.request.choice.count";
inline constexpr char kGenAiFrequencyPenalty[] = "gen_ai.request.frequency_penalty";
inline constexpr char kGenAiPresencePenalty[] = "gen_ai.request.presence_penalty";
inline constexpr char kGenAiStopSequences[] = "gen_ai.request.stop_sequences";  // list of text

inline constexpr char kHttpMethod[] = "http.request.method";
inline constexpr char kHttpRoute[] = "http.route";
inline constexpr char kHttpStatus[] = "http.response.status_code";
inline constexpr char kUrlPath[] = "url.path";
inline constexpr char kRpcSystem[] = "rpc.system";  // "grpc"
inline constexpr char kRpcService[] = "rpc.service";
inline constexpr char kRpcMethod[] = "rpc.method";
inline constexpr char kRpcStatus[] = "rpc.grpc.status_code";
inline constexpr char kErrorType[] = "error.type";

inline constexpr char kRequestId[] = "weft.request_id";
inline constexpr char kTenant[] = "weft.tenant";
inline constexpr char kWorker[] = "weft.worker_id";
inline constexpr char kAttempt[] = "weft.attempt";
inline constexpr char kChoice[] = "weft.choice";
inline constexpr char kCachedTokens[] = "weft.usage.cached_prompt_tokens";
inline constexpr char kScanAction[] = "weft.scan.action";
inline constexpr char kScanRule[] = "weft.scan.rule";

}  // namespace weft::telemetry::semantic
