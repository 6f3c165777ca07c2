/*
 * idset - which stream numbers are used up.
 *
 * The numbers of one kind of stream are handed out in order and end in about the
 * same order, so the ones that are over make few ranges: at most one more than there
 * are streams that are open or were skipped. They are kept to tell a stream that is
 * over from one that is new when something late arrives for it.
 *
 * Invariant: ranges are not empty, ascend, and neither overlap nor touch.
 *
 * Limit: H3_IDSET_MAX ranges. When another would not fit, or memory is short, the two
 * lowest become one, and the numbers between them count as used up: a peer must leave
 * that many holes to lose a stream that it opens very late. Without any memory at all
 * a number is not noted.
 */
#ifndef H3_IDSET_H
#define H3_IDSET_H

#include "quic/types.h"

#define H3_IDSET_MAX 1024

struct h3_idset {
    struct h3_idrange {
        uint64_t lo, hi; /* lo and up, below hi */
    } * v;
    size_t n, cap;
};

/* Zeroed is empty. Free what it holds; it is empty then. */
void h3_idset_free(struct h3_idset *s);

bool h3_idset_has(const struct h3_idset *s, uint64_t id);

/* Add a number below UINT64_MAX; again is harmless. */
void h3_idset_add(struct h3_idset *s, uint64_t id);

/* Assert the invariant. */
void h3_idset_check(const struct h3_idset *s);

#endif
