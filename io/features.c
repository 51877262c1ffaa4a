/*
 * features.c - which of the kernel's features a backend uses, and why not the others
 *
 * Called when a backend is opened, by the thread that opens it. `idle` is for features that coil knows and does
 * not make use of; it goes when a backend does.
 */
#include "features.h"

#include "kernels.h"

static const struct feature {
    const char *name;
    size_t feature;
    const char *missing; /* why it is not there, if no known-bad kernel is to blame */
    const char *idle;    /* why it is not used though it is there; NULL: it is */
} features[] = {
    {"single_issuer", COIL__FEATURE(single_issuer), "not in this kernel: since Linux 6.0", NULL},
    {"defer_taskrun", COIL__FEATURE(defer_taskrun), "not in this kernel: since Linux 6.1", NULL},
    {"coop_taskrun", COIL__FEATURE(coop_taskrun), "not in this kernel: since Linux 5.19", NULL},
    {"no_iowait", COIL__FEATURE(no_iowait),
     "not in this kernel: since Linux 6.15; before, a sleeping loop may be shown as waiting for a disk", NULL},
    {"multishot_accept", COIL__FEATURE(multishot_accept), "not in this kernel: since Linux 5.19", NULL},
    {"multishot_recv", COIL__FEATURE(multishot_recv),
     "not in this kernel: since Linux 6.0, and repaired where the end of a stream got lost (CVE-2026-23473)", NULL},
    {"buffer_ring", COIL__FEATURE(buffer_ring), "not in this kernel: since Linux 5.19", NULL},
    {"send_zc", COIL__FEATURE(send_zc), "not in this kernel: since Linux 6.0",
     "where it was measured the kernel copied all the same"},
    {"min_wait", COIL__FEATURE(min_wait), "not in this kernel: since Linux 6.12",
     "it would make a few requests wait for others"},
    {"registered_descriptors", COIL__FEATURE(registered_descriptors), "not in this kernel: since Linux 5.19",
     "this version of coil has no use for it"},
};

_Static_assert(sizeof features / sizeof *features == COIL__BACKEND_FEATURES, "as many as a backend has room for");

/* Why this ring goes another way: there are two to run task work (enum coil_ring_mode), and two to receive. */
static const char *other_way(const coil__backend *b, const coil__features *can, size_t feature)
{
    bool receiving = feature == COIL__FEATURE(multishot_recv) || feature == COIL__FEATURE(buffer_ring);
    if (receiving && !b->receives_many)
        return can->multishot_recv ? "no memory for the buffers" : "it is there for multishot_recv";
    if (feature == COIL__FEATURE(defer_taskrun) && b->shared)
        return "other workers may take what completes in this ring (coop_taskrun)";
    if (feature == COIL__FEATURE(coop_taskrun) && !b->shared)
        return "defer_taskrun is used instead";
    return NULL;
}

static const char *why_not(const coil__backend *b, const coil__features *can, const struct feature *f)
{
    if (!can)
        return "the backend is epoll";
    if (!coil__features_has(can, f->feature)) {
        const char *flaw = coil__kernel_flaw_of(f->feature, NULL);
        return flaw ? flaw : f->missing;
    }
    return f->idle ? f->idle : other_way(b, can, f->feature);
}

void coil__features_report(coil__backend *b, const coil__features *can)
{
    for (size_t i = 0; i < COIL__BACKEND_FEATURES; i++) {
        const char *why = why_not(b, can, &features[i]);
        b->features[i] = (coil_backend_feature){.name = features[i].name, .used = !why, .why = why};
    }
}
