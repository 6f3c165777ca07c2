/*
 * cid_table - which connection a connection ID belongs to: the routing table of an endpoint.
 *
 * Open addressing with linear probing, at most half full; it grows by doubling and never
 * shrinks. The hash is SipHash-1-3 under a secret key: clients choose the first destination ID
 * of a connection, and must not choose where it lands. The entry that was found last is
 * looked at first, since datagrams come in batches, mostly of one connection.
 *
 * Invariant (cid_table_check): each ID stands in the table once, and between its entry and the
 * place where its hash says there is no free one; connections are not looked into.
 */
#ifndef QUIC_CID_TABLE_H
#define QUIC_CID_TABLE_H

#include "quic/packet.h"

struct quic_conn;

struct cid_table_entry {
    struct quic_cid cid;
    struct quic_conn *conn; /* null: free */
};

struct cid_table {
    uint64_t key[2];
    struct cid_table_entry *at;
    size_t cap, n; /* a power of two; entries in use */
    size_t last;   /* the entry found last, or any other */
};

/* An empty table with a key from `rng`. Returns 0 or QUIC_NOMEM. */
int cid_table_init(struct cid_table *t, const struct rng *rng);

/* Free it. The connections are not touched. */
void cid_table_free(struct cid_table *t);

/* cid_table_find by the hash. */
struct quic_conn *cid_table_search(struct cid_table *t, struct span cid);

/* The connection of `cid`, at most QUIC_CID_MAX bytes; null if there is none. */
static inline struct quic_conn *cid_table_find(struct cid_table *t, struct span cid)
{
    const struct cid_table_entry *e = &t->at[t->last];

    return e->conn && cid_is(&e->cid, cid) ? e->conn : cid_table_search(t, cid);
}

/*
 * Add an ID of `conn`. One that is there already stays with whoever had it first.
 * Returns 0, or QUIC_NOMEM: nothing changed.
 */
int cid_table_add(struct cid_table *t, const struct quic_cid *cid, struct quic_conn *conn);

/* Take out one ID of `conn`; nothing happens where it is not there, or another's. */
void cid_table_remove(struct cid_table *t, const struct quic_cid *cid,
                      const struct quic_conn *conn);

/* Take out all IDs of `conn`. Looks at the whole table. */
void cid_table_forget(struct cid_table *t, const struct quic_conn *conn);

/* Whether the invariant holds: for tests. */
bool cid_table_check(const struct cid_table *t);

#endif
