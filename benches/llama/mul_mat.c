// Times one matrix product of ggml's CPU backend: packed weights times float activations.
//
//     mul_mat q4|q8 OUTPUTS INPUTS BATCH THREADS REPEATS
//
// Prints the best time in milliseconds. The activations' quantization is part of it, as it is in ours.
// Weights are made up by quantizing a formula. Build: see README.md.

#include "ggml.h"
#include "ggml-cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double) t.tv_sec + 1e-6 * (double) t.tv_nsec;
}

int main(int argc, char ** argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: mul_mat q4|q8 OUTPUTS INPUTS BATCH THREADS REPEATS\n");
        return 2;
    }
    const enum ggml_type type = strcmp(argv[1], "q4") == 0 ? GGML_TYPE_Q4_0 : GGML_TYPE_Q8_0;
    const int64_t outputs = atoll(argv[2]), inputs = atoll(argv[3]), batch = atoll(argv[4]);
    const int threads = atoi(argv[5]), repeats = atoi(argv[6]);

    const size_t bytes = ggml_row_size(type, inputs) * outputs +
        sizeof(float) * (size_t) (inputs * batch + outputs * batch) + (16u << 20);
    struct ggml_init_params params = { bytes, NULL, false };
    struct ggml_context * context = ggml_init(params);
    struct ggml_tensor * w = ggml_new_tensor_2d(context, type, inputs, outputs);
    struct ggml_tensor * x = ggml_new_tensor_2d(context, GGML_TYPE_F32, inputs, batch);
    struct ggml_tensor * y = ggml_mul_mat(context, w, x);
    struct ggml_cgraph * graph = ggml_new_graph(context);
    ggml_build_forward_expand(graph, y);

    float * row = malloc(sizeof(float) * (size_t) inputs);
    for (int64_t r = 0; r < outputs; r++) {
        for (int64_t c = 0; c < inputs; c++) {
            row[c] = (float) ((r * inputs + c) * 37 % 251) / 125.0f - 1.0f;
        }
        char * to = (char *) w->data + ggml_row_size(type, inputs) * (size_t) r;
        ggml_quantize_chunk(type, row, to, 0, 1, inputs, NULL);
    }
    free(row);
    for (int64_t i = 0; i < inputs * batch; i++) {
        ((float *) x->data)[i] = (float) (i * 7919 % 1000) / 500.0f - 1.0f;
    }

    struct ggml_threadpool_params pool_params = ggml_threadpool_params_default(threads);
    struct ggml_threadpool * pool = ggml_threadpool_new(&pool_params);
    struct ggml_cplan plan = ggml_graph_plan(graph, threads, pool);
    plan.work_data = malloc(plan.work_size + 64);
    double best = 1e300;
    for (int i = 0; i < repeats; i++) {
        const double start = now_ms();
        if (ggml_graph_compute(graph, &plan) != GGML_STATUS_SUCCESS) {
            fprintf(stderr, "ggml_graph_compute failed\n");
            return 1;
        }
        const double taken = now_ms() - start;
        best = taken < best ? taken : best;
    }
    printf("%.6f\n", best);
    ggml_threadpool_free(pool);
    return 0;
}
