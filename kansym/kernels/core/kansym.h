/* The C interface of kansym's kernels: plain arrays in, plain arrays out, no state.

   Every function exists for double (_f64) and float (_f32), may be called from several threads at
   once, propagates NaN, and returns 0, or 1 when memory ran out. Arrays are contiguous, in C order.
   The maths is that of kansym/edge.py, kansym/layer.py and kansym/jacobian.py, to rounding. */
#ifndef KANSYM_H
#define KANSYM_H

#include <stdint.h>

enum kansym_base { KANSYM_SILU, KANSYM_IDENTITY, KANSYM_TANH, KANSYM_NONE };
enum kansym_outside { KANSYM_LINEAR, KANSYM_CLAMP, KANSYM_HOLD, KANSYM_REFLECT, KANSYM_PERIODIC };

/* One layer of numeric edges. Edges that are not numeric count as zero. */
typedef struct {
  int64_t n_in, n_out, grid, k, base, outside;
  const void *knots;       /* [in][grid + 2 k + 1] */
  const void *coef;        /* [out][in][grid + k] */
  const void *base_weight; /* [out][in] */
  const uint8_t *numeric;  /* [out][in] */
} kansym_layer;

/* Layers with sum and product nodes between them: n_sum[l] and n_product[l] count the nodes of row
   l + 1, a product taken over `arity` subnodes. */
typedef struct {
  int64_t n_layers, arity;
  const kansym_layer *layers;
  const int64_t *n_sum, *n_product;
} kansym_network;

/* Where the gradient of a layer's parameters goes; added to what is there. */
typedef struct {
  void *coef;        /* [out][in][grid + k] */
  void *base_weight; /* [out][in] */
} kansym_gradient;

#define KANSYM_DECLARE(REAL, S)                                                                   \
  /* F [in][grid + k + 1][n] and its slopes; either may be NULL. */                              \
  int kansym_features_##S(const kansym_layer *, int64_t n, const REAL *x, REAL *f, REAL *df);     \
  /* gx[n][in] = sum over features of gf * dF/dx. */                                             \
  int kansym_features_backward_##S(const kansym_layer *, int64_t n, const REAL *x,                \
                                   const REAL *gf, REAL *gx);                                     \
  /* Sums over rows of the features, first[in][f], and of their products, second[in][f][f], with  \
     f = grid + k + 1. Always in double: covariances come from differences of these. */          \
  int kansym_moments_##S(const kansym_layer *, int64_t n, const REAL *x, double *first,           \
                         double *second);                                                        \
  /* gx[n][in] from gradients by both; that by second is symmetric. */                           \
  int kansym_moments_backward_##S(const kansym_layer *, int64_t n, const REAL *x,                 \
                                  const double *gfirst, const double *gsecond, REAL *gx);         \
  /* Variances of the edges, v[out][in] = w' C w with C[in][f][f], unless NULL; and, from g[out][in] \
     unless NULL, the gradient by the weights, 2 g C w. Edges that are not numeric: 0. */        \
  int kansym_variances_##S(const kansym_layer *, const double *covariance, REAL *v,               \
                           const REAL *g, const kansym_gradient *);                               \
  /* y[n][out]. */                                                                               \
  int kansym_forward_##S(const kansym_layer *, int64_t n, const REAL *x, REAL *y);                \
  /* From gy[n][out]: gx[n][in] (or NULL) and the gradient of the parameters. */                 \
  int kansym_backward_##S(const kansym_layer *, int64_t n, const REAL *x, const REAL *gy,         \
                          REAL *gx, const kansym_gradient *);                                     \
  /* phi[n][out][in] of every edge and d phi / dx; either may be NULL. */                        \
  int kansym_edges_##S(const kansym_layer *, int64_t n, const REAL *x, REAL *phi, REAL *dphi);    \
  /* The same as kansym_backward, from a gradient for every edge, g[n][out][in]. */              \
  int kansym_edges_backward_##S(const kansym_layer *, int64_t n, const REAL *x, const REAL *g,    \
                                REAL *gx, const kansym_gradient *);                               \
  /* The last nodes, h[n][out]. */                                                            \
  int kansym_network_forward_##S(const kansym_network *, int64_t n, const REAL *x, REAL *h);      \
  /* Sum of w (h - target)^2 over rows and outputs, h[n][out] the last nodes, and its gradient,  \
     one kansym_gradient for each layer. weight[n] may be NULL. */                               \
  int kansym_network_loss_##S(const kansym_network *, int64_t n, const REAL *x,                   \
                              const REAL *target, const REAL *weight, double *loss,               \
                              const kansym_gradient *);                                           \
  /* h[n][out] and, added to what is there, the lower triangle of J'WJ[p][p], J'Wr[p] and the loss, \
     sums over rows and outputs, with r = h - target, weight[n] unless NULL, and the weights that   \
     make least squares of Huber's loss when delta > 0. */                                        \
  int kansym_network_normal_##S(const kansym_network *, int64_t n, int64_t p, const REAL *x,      \
                                const REAL *target, const REAL *weight, double delta, REAL *h,    \
                                REAL *normal, REAL *gradient, double *loss);                      \
  /* h[n][out], and J[n][out][p] = d h / d theta with theta = for each layer the coefficients of  \
     its numeric edges and then, unless the base is NONE, their base weights. */                 \
  int kansym_network_jacobian_##S(const kansym_network *, int64_t n, int64_t p, const REAL *x,    \
                                  REAL *h, REAL *jacobian);

KANSYM_DECLARE(double, f64)
KANSYM_DECLARE(float, f32)

/* Counts the changes to this interface that old callers would not survive. */
#define KANSYM_ABI 1
int kansym_abi(void);

/* 0: nothing special, 1: AVX2 and FMA, 2: AVX-512 (F, DQ, BW, VL). What this CPU can run. */
int kansym_cpu_level(void);
#endif
