/* Explains a sound by the graph that `earmark export BUNDLE --fused model.onnx` wrote.
 *
 *   cc -std=c11 -O2 -I INCLUDE explain.c -o explain LIB/libonnxruntime.so -Wl,-rpath,LIB
 *   ./explain model.onnx sound.wav [kept.wav]
 *
 * INCLUDE holds onnxruntime_c_api.h, LIB an ONNX Runtime of the same version or a newer one: its C interface only
 * grows. The sound is a little-endian WAV of 16-bit or float samples at the model's rate; its channels are averaged.
 */

#include <onnxruntime_c_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const OrtApi *api;

static void fail(const char *path, const char *text) {
  fprintf(stderr, "%s: %s\n", path, text);
  exit(1);
}

/* Ends the program where ONNX Runtime refuses something. */
static void check(OrtStatus *status) {
  if (status != NULL) fail("onnxruntime", api->GetErrorMessage(status));
}

static void *reserve(size_t bytes) {
  void *place = malloc(bytes ? bytes : 1);
  if (place == NULL) fail("memory", "there is not enough");
  return place;
}

static uint32_t u32(const unsigned char *at) {
  return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint32_t u16(const unsigned char *at) { return at[0] | (uint32_t)at[1] << 8; }

/* The whole file; *size gets its bytes. */
static unsigned char *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) fail(path, "cannot be opened");
  fseek(file, 0, SEEK_END);
  long length = ftell(file);
  rewind(file);
  if (length < 0) fail(path, "has no length");
  unsigned char *bytes = reserve((size_t)length);
  *size = fread(bytes, 1, (size_t)length, file);
  fclose(file);
  return bytes;
}

/* The samples of a WAV, mono; *count gets their number, *rate their rate in Hz. */
static float *read_wav(const char *path, size_t *count, uint32_t *rate) {
  size_t size;
  unsigned char *file = read_file(path, &size);
  uint32_t kind = 0, channels = 0, bytes = 0;
  if (size < 12 || memcmp(file, "RIFF", 4) != 0 || memcmp(file + 8, "WAVE", 4) != 0) fail(path, "is no WAV");
  for (size_t at = 12; at + 8 <= size;) {
    const unsigned char *chunk = file + at + 8;
    size_t left = size - at - 8, length = u32(file + at + 4);
    if (length > left) length = left;
    if (memcmp(file + at, "fmt ", 4) == 0 && length >= 16) {
      kind = u16(chunk);
      channels = u16(chunk + 2);
      *rate = u32(chunk + 4);
      bytes = u16(chunk + 14) / 8;
    } else if (memcmp(file + at, "data", 4) == 0) {
      if (channels == 0 || !((kind == 1 && bytes == 2) || (kind == 3 && bytes == 4)))
        fail(path, "give 16-bit or 32-bit float samples");
      *count = length / (bytes * channels);
      float *samples = reserve(*count * sizeof(float));
      for (size_t i = 0; i < *count; i++) {
        double sum = 0.0;
        for (uint32_t c = 0; c < channels; c++) {
          const unsigned char *place = chunk + (i * channels + c) * bytes;
          uint32_t bits = bytes == 4 ? u32(place) : 0;
          float value;
          memcpy(&value, &bits, sizeof value);
          sum += bytes == 4 ? value : (int16_t)u16(place) / 32768.0;
        }
        samples[i] = (float)(sum / channels);
      }
      free(file);
      return samples;
    }
    at += 8 + length + length % 2;
  }
  fail(path, "has no samples");
  return NULL;
}

static void put(FILE *file, uint32_t value, int bytes) {
  for (int i = 0; i < bytes; i++) fputc((int)(value >> (8 * i) & 255), file);
}

/* Writes mono float samples as a WAV. */
static void write_wav(const char *path, const float *samples, size_t count, uint32_t rate) {
  FILE *file = fopen(path, "wb");
  if (file == NULL) fail(path, "cannot be written");
  uint32_t bytes = (uint32_t)(4 * count);
  fputs("RIFF", file), put(file, 36 + bytes, 4), fputs("WAVEfmt ", file), put(file, 16, 4);
  put(file, 3, 2), put(file, 1, 2), put(file, rate, 4), put(file, 4 * rate, 4), put(file, 4, 2), put(file, 32, 2);
  fputs("data", file), put(file, bytes, 4);
  for (size_t i = 0; i < count; i++) {
    uint32_t bits;
    memcpy(&bits, &samples[i], sizeof bits);
    put(file, bits, 4);
  }
  if (ferror(file) | fclose(file)) fail(path, "cannot be written");
}

/* An entry of the model's metadata. */
static char *fact(const OrtModelMetadata *metadata, OrtAllocator *allocator, const char *name) {
  char *value = NULL;
  check(api->ModelMetadataLookupCustomMetadataMap(metadata, allocator, name, &value));
  if (value == NULL) fail(name, "is not in the model's metadata: export it with earmark --fused");
  return value;
}

/* The numbers of a tensor; *count gets how many, dims and *rank its dimensions. */
static const float *numbers(OrtValue *value, size_t *count, int64_t dims[8], size_t *rank) {
  OrtTensorTypeAndShapeInfo *info;
  void *data;
  check(api->GetTensorTypeAndShape(value, &info));
  check(api->GetTensorShapeElementCount(info, count));
  check(api->GetDimensionsCount(info, rank));
  if (*rank > 8) fail("model", "has a tensor of more than 8 dimensions");
  check(api->GetDimensions(info, dims, *rank));
  api->ReleaseTensorTypeAndShapeInfo(info);
  check(api->GetTensorMutableData(value, &data));
  return data;
}

static void print_list(const char *name, const float *values, size_t count) {
  printf(", \"%s\": [", name);
  for (size_t i = 0; i < count; i++) printf("%s%.9g", i ? ", " : "", values[i]);
  printf("]");
}

int main(int argc, char **argv) {
  if (argc < 3) fail("usage", "explain MODEL.onnx SOUND.wav [KEPT.wav]");
  api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (api == NULL) fail("onnxruntime", "the library is older than the header");

  OrtEnv *environment;
  OrtSessionOptions *options;
  OrtSession *session;
  OrtAllocator *allocator;
  OrtModelMetadata *metadata;
  check(api->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "earmark", &environment));
  check(api->DisableTelemetryEvents(environment));
  check(api->CreateSessionOptions(&options));
  check(api->CreateSession(environment, argv[1], options, &session));
  check(api->GetAllocatorWithDefaultOptions(&allocator));
  check(api->SessionGetModelMetadata(session, &metadata));

  size_t samples;
  uint32_t rate = 0;
  float *waveform = read_wav(argv[2], &samples, &rate);
  if (rate != strtoul(fact(metadata, allocator, "sample_rate"), NULL, 10))
    fail(argv[2], "is not at the model's sample rate; resample it");

  /* What the graph gives depends on the bundle: a mask needs a decoder. */
  const char *wanted[] = {"scores", "logits", "mask", "kept"};
  const char *names[4];
  size_t outputs, there = 0;
  check(api->SessionGetOutputCount(session, &outputs));
  for (size_t w = 0; w < 4; w++)
    for (size_t i = 0; i < outputs; i++) {
      char *name;
      check(api->SessionGetOutputName(session, i, allocator, &name));
      if (strcmp(name, wanted[w]) == 0) names[there++] = wanted[w];
      check(api->AllocatorFree(allocator, name));
    }

  OrtMemoryInfo *memory;
  OrtValue *input = NULL, *answers[4] = {NULL};
  const int64_t dims[] = {1, (int64_t)samples};
  const char *inputs[] = {"waveform"};
  check(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
  check(api->CreateTensorWithDataAsOrtValue(memory, waveform, samples * sizeof(float), dims, 2,
                                            ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &input));
  check(api->Run(session, NULL, inputs, (const OrtValue *const *)&input, 1, names, there, answers));

  printf("{\"labels\": %s", fact(metadata, allocator, "labels"));
  for (size_t i = 0; i < there; i++) {
    int64_t shape[8];
    size_t count, rank;
    const float *values = numbers(answers[i], &count, shape, &rank);
    if (strcmp(names[i], "mask") == 0) {
      double sum = 0.0;
      for (size_t n = 0; n < count; n++) sum += values[n];
      printf(", \"mask_dims\": [%lld, %lld, %lld], \"mask_mean\": %.9g", (long long)shape[0], (long long)shape[1],
             (long long)shape[2], sum / (double)count);
    } else if (strcmp(names[i], "kept") == 0) {
      if (argc > 3) write_wav(argv[3], values, count, rate);
    } else {
      print_list(names[i], values, count);
    }
    api->ReleaseValue(answers[i]);
  }
  printf("}\n");

  api->ReleaseValue(input);
  api->ReleaseMemoryInfo(memory);
  api->ReleaseModelMetadata(metadata);
  api->ReleaseSession(session);
  api->ReleaseSessionOptions(options);
  api->ReleaseEnv(environment);
  free(waveform);
  return 0;
}
