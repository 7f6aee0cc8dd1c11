// sppark's sum over alt_bn128 G1 with points that stay on the device.
#include <ff/alt_bn128.hpp>
#include <ec/jacobian_t.hpp>
#include <ec/xyzz_t.hpp>

typedef jacobian_t<fp_t> point_t;
typedef xyzz_t<fp_t> bucket_t;
typedef bucket_t::affine_t affine_t;
typedef fr_t scalar_t;

#define SPPARK_DONT_INSTANTIATE_TEMPLATES
#include <msm/pippenger.cuh>

typedef msm_t<bucket_t, point_t, affine_t, scalar_t> sum_t;

extern "C" void *assay_sppark_open(const affine_t *points, size_t count) {
    try {
        return new sum_t(points, count);
    } catch (const cuda_error &) {
        return nullptr;
    }
}
// Scalars in Montgomery form; the result in Jacobian coordinates. Not 0: it failed.
extern "C" int assay_sppark_sum(void *sum, point_t *out, const scalar_t *scalars, size_t count) {
    try {
        return static_cast<sum_t *>(sum)->invoke(*out, static_cast<const affine_t *>(nullptr), count, scalars, true).code;
    } catch (const cuda_error &error) {
        return error.code() ? error.code() : -1;
    }
}
extern "C" void assay_sppark_close(void *sum) { delete static_cast<sum_t *>(sum); }
