/* Runs a bundle's model_early_exit.onnx with the C API of onnxruntime.
 *
 *     early_exit MODEL SAMPLES [THRESHOLD ...]
 *
 * SAMPLES holds float32 values, normalised as manifest.json says, one sample after the other in the order channels,
 * height, width. For every sample one line: exit, class, confidence, logits. THRESHOLDs, one per early exit, replace
 * those in the file.
 */

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <onnxruntime_c_api.h>

#define MAX_AXES 8
#define MAX_EXITS 64

static const OrtApi *ort;

/* Every call of the C API gives a status: NULL when all went well. */
static void check(OrtStatus *status) {
    if (status == NULL) return;
    fprintf(stderr, "early_exit: %s\n", ort->GetErrorMessage(status));
    ort->ReleaseStatus(status);
    exit(1);
}

static void fail(const char *message) {
    fprintf(stderr, "early_exit: %s\n", message);
    exit(2);
}

typedef struct {
    int64_t axes[MAX_AXES];
    size_t num_axes;
    size_t num_values;
} Shape;

static Shape shape_of(const OrtTensorTypeAndShapeInfo *info) {
    Shape shape = {{0}, 0, 1};
    check(ort->GetDimensionsCount(info, &shape.num_axes));
    if (shape.num_axes > MAX_AXES) fail("the input has too many axes");
    check(ort->GetDimensions(info, shape.axes, shape.num_axes));
    for (size_t i = 0; i < shape.num_axes; i++) {
        if (shape.axes[i] < 1) fail("the input must have a fixed shape; use model_early_exit.onnx of a bundle");
        shape.num_values *= (size_t)shape.axes[i];
    }
    return shape;
}

static Shape input_shape(const OrtSession *session) {
    OrtTypeInfo *type = NULL;
    const OrtTensorTypeAndShapeInfo *info = NULL;
    check(ort->SessionGetInputTypeInfo(session, 0, &type));
    check(ort->CastTypeInfoToTensorInfo(type, &info));
    if (info == NULL) fail("the first input must be a tensor");
    Shape shape = shape_of(info);
    ort->ReleaseTypeInfo(type);
    return shape;
}

static size_t num_values_in(const OrtValue *value) {
    OrtTensorTypeAndShapeInfo *info = NULL;
    size_t count = 0;
    check(ort->GetTensorTypeAndShape(value, &info));
    check(ort->GetTensorShapeElementCount(info, &count));
    ort->ReleaseTensorTypeAndShapeInfo(info);
    return count;
}

static void print_answer(OrtValue *const outputs[3]) {
    float *logits = NULL;
    int64_t *taken = NULL;
    double *confidence = NULL;
    check(ort->GetTensorMutableData(outputs[0], (void **)&logits));
    check(ort->GetTensorMutableData(outputs[1], (void **)&taken));
    check(ort->GetTensorMutableData(outputs[2], (void **)&confidence));
    size_t classes = num_values_in(outputs[0]), best = 0;
    for (size_t i = 1; i < classes; i++) {
        if (logits[i] > logits[best]) best = i;
    }
    printf("%" PRId64 " %zu %.9g", *taken, best, *confidence);
    for (size_t i = 0; i < classes; i++) printf(" %.9g", logits[i]);
    printf("\n");
}

int main(int argc, char **argv) {
    if (argc < 3 || argc - 3 > MAX_EXITS) fail("usage: early_exit MODEL SAMPLES [THRESHOLD ...]");
    ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (ort == NULL) fail("the onnxruntime library is older than the header this was compiled with");

    OrtEnv *env = NULL;
    OrtSessionOptions *options = NULL;
    OrtSession *session = NULL;
    OrtMemoryInfo *memory = NULL;
    check(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "early_exit", &env));
    check(ort->CreateSessionOptions(&options));
    check(ort->SetIntraOpNumThreads(options, 1));
    check(ort->CreateSession(env, argv[1], options, &session));
    check(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));

    Shape shape = input_shape(session);
    float *sample = malloc(shape.num_values * sizeof *sample);
    FILE *samples = fopen(argv[2], "rb");
    if (sample == NULL || samples == NULL) fail("the samples cannot be read");

    /* The tensors are views of these buffers: filling a buffer anew is all that the next sample takes. */
    double thresholds[MAX_EXITS];
    int64_t num_thresholds = argc - 3;
    for (int i = 3; i < argc; i++) thresholds[i - 3] = strtod(argv[i], NULL);
    OrtValue *inputs[2] = {NULL, NULL};
    check(ort->CreateTensorWithDataAsOrtValue(memory, sample, shape.num_values * sizeof *sample, shape.axes,
                                              shape.num_axes, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &inputs[0]));
    if (num_thresholds > 0) {
        check(ort->CreateTensorWithDataAsOrtValue(memory, thresholds, (size_t)num_thresholds * sizeof *thresholds,
                                                  &num_thresholds, 1, ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
                                                  &inputs[1]));
    }
    const char *const input_names[2] = {"images", "thresholds"};
    const char *const output_names[3] = {"logits", "exit", "confidence"};

    size_t count;
    while ((count = fread(sample, sizeof *sample, shape.num_values, samples)) == shape.num_values) {
        OrtValue *outputs[3] = {NULL, NULL, NULL};
        check(ort->Run(session, NULL, input_names, (const OrtValue *const *)inputs, num_thresholds > 0 ? 2 : 1,
                       output_names, 3, outputs));
        print_answer(outputs);
        for (int i = 0; i < 3; i++) ort->ReleaseValue(outputs[i]);
    }
    if (count != 0) fail("the samples must fill whole inputs, but the last one is cut off");

    fclose(samples);
    free(sample);
    if (inputs[1] != NULL) ort->ReleaseValue(inputs[1]);
    ort->ReleaseValue(inputs[0]);
    ort->ReleaseMemoryInfo(memory);
    ort->ReleaseSession(session);
    ort->ReleaseSessionOptions(options);
    ort->ReleaseEnv(env);
    return 0;
}
