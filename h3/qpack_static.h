/*
 * qpack_static - the static table of QPACK (RFC 9204 appendix A): 99 fields that
 * both sides know, numbered from 0.
 */
#ifndef H3_QPACK_STATIC_H
#define H3_QPACK_STATIC_H

#include "h3/fields.h"
#include "quic/types.h"

#define QPACK_STATIC_N 99

struct qpack_static_row {
    struct span name, value;
};

/* Row `index`, or null from QPACK_STATIC_N on. Lives forever. */
const struct qpack_static_row *qpack_static_get(uint64_t index);

/*
 * Find the row for a field to encode. `*exact` says whether the value is equal too,
 * and not only the name. Returns the lowest such index, or -1 if no row has the name.
 */
int qpack_static_find(struct span name, struct span value, bool *exact);

#endif
