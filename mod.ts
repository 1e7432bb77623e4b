/**
 * SmallKV Lab: run pairs of language models on WebGPU, look at their attention, decode under KV cache policies, and
 * repeat what the SmallKV paper measured.
 *
 * Everything that programs and notebooks need is here. `@smallkv/lab/experiments` has the experiments and their types,
 * `@smallkv/lab/notebook` what notebooks draw with, `@smallkv/lab/kernels` the kernels with their float64 twins, and
 * `@smallkv/lab/cli` is the command line.
 *
 * Whatever is refused or fails is a {@linkcode LabError}, and its message is meant for users; any other error is a
 * fault of the toolkit, except those that a signal or a callback of yours throws.
 *
 * @module
 */

// Errors, progress
export type { Interval } from "./core/bootstrap.ts";
export { DataError, GpuError, LabError, RequirementError, UsageError } from "./core/check.ts";
export type { Refusal } from "./core/check.ts";
export type { JsonValue } from "./core/json.ts";
export { Progress } from "./core/progress.ts";
export type { ProgressOptions, ProgressState, ProgressStep } from "./core/progress.ts";
export { createSafetensors } from "./core/safetensors_writer.ts";
export type { TensorPlan } from "./core/safetensors_bytes.ts";
export type { SafetensorsWriter } from "./core/safetensors_writer.ts";

// Devices
export type {
  ActivationBits,
  Backend,
  BufferCopy,
  BufferWindow,
  Command,
  Device,
  DeviceBuffer,
  DeviceInfo,
  DeviceOptions,
  DeviceUsage,
  Dispatch,
  DispatchBuffers,
  Recording,
  ShapeChoice,
  SubgroupMatrixShape,
} from "./gpu/device.ts";
export type { CpuCode, CpuField, CpuModule, CpuPass, CpuRun } from "./gpu/cpu_module.ts";
export type { CpuDeviceOptions } from "./gpu/cpu_device.ts";
export type {
  ArrayOf,
  Binding,
  Kernel,
  KernelArrays,
  KernelContract,
  KernelRun,
  ParamType,
  WgslExtension,
} from "./gpu/kernel.ts";
export { openDevice } from "./gpu/open_device.ts";
export type { OpenDeviceOptions } from "./gpu/open_device.ts";

// Kernels that models name
export type { AttentionRule } from "./kernels/attention_shape.ts";

// Models
export type {
  BlockNorms,
  LayerAttention,
  ModelConfig,
  QueryScaling,
  RopeScaling,
  RopeScalingKind,
} from "./models/config.ts";
export type { DownloadOptions, DownloadProgress } from "./models/hub/hub_settings.ts";
export { loadModel } from "./models/load.ts";
export { withOwnTokens } from "./models/forward/own_tokens.ts";
export type { LoadOptions, Model } from "./models/load.ts";
export type { OpenOptions } from "./models/open.ts";
export { endTokenIds, renderChat } from "./models/tokenizer/chat_template.ts";
export type { ChatMessage, ChatOptions } from "./models/tokenizer/chat_template.ts";
export { tokenTexts } from "./models/tokenizer/token_texts.ts";
export { createTextStream, sameVocabulary } from "./models/tokenizer/tokenizer.ts";
export type { TextStream, Tokenizer } from "./models/tokenizer/tokenizer.ts";
export type { TokenSpans } from "./models/tokenizer/tokenizer_offsets.ts";
export { vocabularyHash } from "./models/tokenizer/vocabulary_hash.ts";

// Attention, head matching, saliency shift, quality
export {
  accumulateAttention,
  checkAttentionMap,
  windowAttention,
} from "./analysis/attention_map.ts";
export type { AccumulateOptions, AttentionMap, WindowOptions } from "./analysis/attention_map.ts";
export { binRatio, saliencyBins, topSaliencyShare } from "./analysis/bins.ts";
export type { BinRatio } from "./analysis/bins.ts";
export { applyMap, fitMap, mapSums } from "./analysis/fitted_map.ts";
export type { AttentionRows, FitOptions, FittedMap, RowPair } from "./analysis/fitted_map.ts";
export { compensationError } from "./analysis/error_bound.ts";
export type { CompensatedRow, CompensationError } from "./analysis/error_bound.ts";
export { matchHeadGroups } from "./analysis/group_match.ts";
export { checkedMatch, compareHeads, matchHeads, matchingWindow } from "./analysis/head_match.ts";
export type { HeadMatch, MatchOptions } from "./analysis/head_match.ts";
export { relativeDepth } from "./analysis/head_saliency.ts";
export type { HeadSaliency } from "./analysis/head_saliency.ts";
export { meanHead, meanHeadMatch, randomHeadMatch, totalSaliency } from "./analysis/null_match.ts";
export type { CompareOptions } from "./analysis/null_match.ts";
export {
  fitShuffledMap,
  mapSimilarity,
  matchedMap,
  meanHeadMap,
  randomHeadMap,
  splitRows,
} from "./analysis/null_map.ts";
export type { MapSimilarity } from "./analysis/null_map.ts";
export { klDivergence, stepQuality, summarizeQuality } from "./analysis/quality.ts";
export type { QualitySummary, StepQuality } from "./analysis/quality.ts";
export { compareTexts } from "./analysis/quality_text.ts";
export type { TextQuality, WrittenText } from "./analysis/quality_text.ts";
export {
  comparePaired,
  holmAdjusted,
  mcnemarTest,
  pairedInterval,
  signFlipTest,
} from "./analysis/paired_tests.ts";
export type { PairedComparison } from "./analysis/paired_tests.ts";
export { heldOutPredictions, rankCorrelation, ridgeFit } from "./analysis/prediction.ts";
export type { HeldOut, LinearFit } from "./analysis/prediction.ts";
export { NORMALISATIONS } from "./analysis/row_means.ts";
export type { Normalisation } from "./analysis/row_means.ts";
export {
  accumulateAfterDrop,
  compareViews,
  firstKeptTokens,
  randomJaccard,
  saliencyShift,
} from "./analysis/saliency_shift.ts";
export type { DropOptions, SaliencyShift, SalientOptions } from "./analysis/saliency_shift.ts";
export { scoreInterval, stratifiedInterval, wilsonInterval } from "./analysis/score_intervals.ts";
export type { ScoreOptions } from "./analysis/score_intervals.ts";
export { cosineSimilarity, jaccardSimilarity, salientTokens } from "./analysis/similarity.ts";
export { alignWords, wordSaliency } from "./analysis/words.ts";
export type { AlignedWords, WordSaliency } from "./analysis/words.ts";
export { RealDrop } from "./decoding/session/real_drop.ts";
export { attentionRows, traceAttention } from "./decoding/session/trace.ts";
export type {
  AttentionTrace,
  HeadName,
  RowOptions,
  TraceOptions,
} from "./decoding/session/trace.ts";

// Policies
export { checkBudget, halfEntries, splitBudget, wholeEntries } from "./cache/budget.ts";
export type {
  CacheBudget,
  CountRequest,
  LayerPlace,
  LayerWindows,
  TierCounts,
} from "./cache/budget.ts";
export type { Choice, ChoiceValue, Need, NumberRange } from "./cache/choice.ts";
export type { KeyIndex } from "./cache/key_index.ts";
export type { Migration, StoreKind } from "./cache/kv_store.ts";
export {
  FIT_CHOICES,
  GRANULARITIES,
  MATCH_CHOICES,
  POLICY_CHOICES,
  RUN_CHOICES,
} from "./cache/options.ts";
export type { CountOptions, Granularity, OptionName, PolicyOptions } from "./cache/options.ts";
export { POLICIES } from "./cache/policies/mod.ts";
export { planBySaliency } from "./cache/policy.ts";
export type {
  PlanView,
  Policy,
  PrunedLayer,
  PruneView,
  RankingView,
  Selection,
} from "./cache/policy.ts";
export { createPolicy, findPolicy, resolvePolicy } from "./cache/policy_options.ts";
export type { ResolvedPolicy } from "./cache/policy_options.ts";
export type { TieRule } from "./cache/top_k_threshold.ts";
/** Scores that policies rank tokens by, as in `scores.observationWindow({ rows: 32, pool: 7 })`. */
export * as scores from "./cache/scores/mod.ts";
export { QueryMoments } from "./cache/scores/query_moments.ts";
export type { Score, ScoreInput, ScoreStart, ScoreStep, ScoreView } from "./cache/scores/score.ts";

// Decoding
export { PolicySession } from "./decoding/engine/policy_session.ts";
export type { PromptEvents, PromptOptions } from "./decoding/engine/prompt.ts";
export type { PolicySetting } from "./decoding/engine/settings.ts";
export { SpeculativeSession } from "./decoding/engine/speculative_session.ts";
export type {
  BlockOptions,
  BlockReport,
  BlockSelection,
  BlockTimes,
  SpeculationRequest,
  SpeculationStatistics,
  SpeculativeOptions,
} from "./decoding/engine/speculative_types.ts";
export type {
  ModelPair,
  PolicyMemory,
  PolicySessionOptions,
  SharedOptions,
  StepOptions,
  StepReport,
} from "./decoding/engine/types.ts";
export { teacherForce } from "./decoding/forced/teacher_force.ts";
export type { TeacherForceOptions, TeacherForceResult } from "./decoding/forced/teacher_force.ts";
export { teacherForceSettings } from "./decoding/forced/teacher_force_settings.ts";
export type {
  OpenText,
  SelectionStep,
  SettingsOptions,
  TeacherForcedRun,
} from "./decoding/forced/teacher_force_settings.ts";
export { MATCH_SIDES } from "./decoding/scoring/head_matching.ts";
export type { MatchSide, PairMatchOptions } from "./decoding/scoring/head_matching.ts";
export type { CacheBits } from "./cache/full_cache.ts";
export type { SmallModelCut } from "./decoding/scoring/small_model.ts";
export type {
  SequenceSetting,
  SequenceSettingOptions,
} from "./decoding/selection/sequence_settings.ts";
export type { TierSizes } from "./decoding/selection/tiers.ts";
export type { HeadSelection, MapBlock } from "./decoding/session/maps.ts";
export { Session } from "./decoding/session/session.ts";
export type { PrefillOptions, SessionOptions } from "./decoding/session/session_options.ts";
export { answerAll } from "./decoding/text/answers.ts";
export type {
  Answer,
  AnswerAllOptions,
  AnsweredTurn,
  AnswerEnd,
  AnswerProgress,
  AnswerRequest,
} from "./decoding/text/answers.ts";
export { Conversation } from "./decoding/text/conversation.ts";
export type { AnswerOptions, ConversationOptions } from "./decoding/text/conversation.ts";
export { generate, generateAll } from "./decoding/text/generate.ts";
export type { GenerateOptions, Generation } from "./decoding/text/generate.ts";
export type { GeneratedToken, GenerationStep, WriterEnd } from "./decoding/text/loop.ts";
export type { Prompt } from "./decoding/text/prompts.ts";
export type { SamplingOptions } from "./decoding/text/sampling.ts";
export type { CompressionOptions, DraftOptions } from "./decoding/text/setup.ts";
export type {
  GenerationMemory,
  GenerationStatistics,
  ModelBytes,
} from "./decoding/text/statistics.ts";

// Data
export type { DataFile, Dataset, DatasetText } from "./data/dataset.ts";
export { embeddedPair, verifyEmbedded } from "./data/embedded.ts";
export type { EmbeddedPair } from "./data/embedded.ts";
export { evaluationItems } from "./data/microworld.ts";
export type { EvaluationOptions, MicroworldItem, MicroworldTask } from "./data/microworld.ts";
export type { Segment } from "./data/microworld/parts.ts";
export { DATASETS } from "./data/mod.ts";
export { datasetFolder } from "./models/hub/hub_datasets.ts";
export type { Download, FetchOptions } from "./data/fetch.ts";
export type { DatasetOptions } from "./models/hub/hub_datasets.ts";
export { averageScore } from "./data/task.ts";
export type {
  GradedItem,
  LeftOutItem,
  Task,
  TaskGrade,
  TaskItem,
  TaskOptions,
  TaskTokenizer,
} from "./data/task.ts";
export { TASKS } from "./data/tasks/mod.ts";

// Evaluation
export type { AnswerRow, AnswerText, Row, RowPlace, SkippedRow } from "./evaluation/answer_row.ts";
export { evaluate, planEvaluation } from "./evaluation/evaluate.ts";
export type {
  EvaluateOptions,
  EvaluationPlan,
  EvaluationRequest,
  EvaluationState,
  Shard,
} from "./evaluation/evaluate.ts";
export { compareSettings } from "./evaluation/comparisons.ts";
export type {
  ComparisonFamily,
  DeclaredComparison,
  SettingComparison,
} from "./evaluation/comparisons.ts";
export {
  EvaluationFolder,
  mergedRows,
  readScores,
  summarizeEvaluation,
} from "./evaluation/folder.ts";
export type { EvaluatedModel, EvaluatedModels } from "./evaluation/evaluated_models.ts";
export type { EvaluatedTask, EvaluationSummary, FolderOptions } from "./evaluation/folder.ts";
export { equalTotals, TOTALS } from "./evaluation/equal_totals.ts";
export type {
  BestComparison,
  BestOfTotal,
  EqualTotals,
  ItemShare,
  SettingTotal,
  TaskTotals,
} from "./evaluation/equal_totals.ts";
export { paidMemory, totalShares } from "./evaluation/memory.ts";
export type { PaidMemory, SizedCell, TotalShares } from "./evaluation/memory.ts";
export type { DataPlaceOptions, Question, QuestionOptions } from "./evaluation/questions.ts";
export { evaluationSettings } from "./evaluation/settings.ts";
export type { EvaluationSetting, Pairing, SettingsRequest } from "./evaluation/settings.ts";
export { countedAnswers, itemScores, regradedRows, summaryCells } from "./evaluation/summary.ts";
export type { AcceptedCode, CountedAnswers, ItemScore, SummaryCell } from "./evaluation/summary.ts";
export { engineCode, runWork, splitWork } from "./evaluation/work.ts";
export type { AnswerWorkOptions, OpenQuestion, WorkItem, WorkOptions } from "./evaluation/work.ts";
