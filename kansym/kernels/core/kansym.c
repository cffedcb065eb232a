/* One translation unit, compiled once for each CPU level; see kansym.h for what it offers.

   real.inc is the code for one floating-point type; it includes lanes.inc twice, for splines of
   degree up to 3 (4 lanes) and up to 7 (8 lanes). */
#include "kansym.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#define GLUE2(a, b) a##_##b
#define GLUE(a, b) GLUE2(a, b)
#define GLUE3_(a, b, c) a##_##b##_##c
#define GLUE3(a, b, c) GLUE3_(a, b, c)
#define MAX_K 7
#define NARROW_BLOCK 64 /* rows worked on at once: what they need stays in the first caches */
#define WIDE_BLOCK 128
#define PRODUCT_ROWS (VECTOR_BYTES == 64 ? 8 : 4) /* of the tiles of J'J that stay in registers */
#define PRODUCT_VECTORS (VECTOR_BYTES == 16 ? 2 : 3)
#define SLAB_BYTES 24576 /* weights worked on at once in a wide layer */
#define LINEAR_SEARCH 32 /* intervals up to which counting breaks, in vectors, is faster */
#define VECTORS_IN_REGISTERS (VECTOR_BYTES == 64 ? 4 : 2) /* times k + 2 rows of weights */
#define MAX_VECTORS (VECTOR_BYTES == 64 ? 4 : 8) /* of outputs in registers at once */

static inline int64_t min_i(int64_t a, int64_t b) { return a < b ? a : b; }

/* Memory for one call. A layout is walked twice: without memory to learn how much it takes, then
   with it to hand out the pieces. */
typedef struct {
  char *start;
  size_t used, size;
} arena;

#define ALIGN 64

/* The memory of the last call is kept for the next one: asking the system for 50 MB and touching
   it for the first time costs as much as a wide layer. Whoever takes it out of `spare` owns it. */
#define MAX_SPARE ((size_t)1 << 28)
typedef struct {
  size_t size;
} spare_header;
static _Atomic(void *) spare;

static void *take(arena *a, size_t bytes) {
  char *piece = a->start ? a->start + a->used : NULL;
  a->used += (bytes + ALIGN - 1) / ALIGN * ALIGN;
  return piece;
}

static int arena_open(arena *a) {
  char *memory = atomic_exchange(&spare, NULL);
  size_t size = memory ? ((spare_header *)memory)->size : 0;
  if (size < a->used) {
    free(memory);
    size = a->used;
    void *fresh = NULL;
    if (posix_memalign(&fresh, ALIGN, ALIGN + size)) return 0;
    memory = fresh;
    ((spare_header *)memory)->size = size;
  }
  *a = (arena){memory + ALIGN, 0, size};
  return 1;
}

static void arena_close(arena *a) {
  void *memory = a->start - ALIGN;
  free(a->size <= MAX_SPARE ? atomic_exchange(&spare, memory) : memory);
}

#define REAL double
#define S f64
#define INT int64_t
#define UINT uint64_t
#define MANTISSA 52
#define BIAS 1023
#define EXP_LIMIT 708.0
#define LN2_HIGH 0x1.62e42fefa0000p-1
#define LN2_LOW 0x1.cf79abc9e3b3ap-40
#include "real.inc"

#define REAL float
#define S f32
#define INT int32_t
#define UINT uint32_t
#define MANTISSA 23
#define BIAS 127
#define EXP_LIMIT 87.0f
#define LN2_HIGH 0x1.62e400p-1f
#define LN2_LOW 0x1.7f7d1cp-20f
#include "real.inc"

int kansym_abi(void) { return KANSYM_ABI; }

int kansym_cpu_level(void) {
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512dq") ||
      !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl"))
    return 1;
  return 2;
#else
  return 0;
#endif
}
