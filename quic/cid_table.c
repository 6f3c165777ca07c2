#include "quic/cid_table.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_MIN 64

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

/* SipHash-1-3. */
static size_t hash(const struct cid_table *t, struct span cid)
{
    uint64_t v[4] = {t->key[0] ^ 0x736f6d6570736575u, t->key[1] ^ 0x646f72616e646f6du,
                     t->key[0] ^ 0x6c7967656e657261u, t->key[1] ^ 0x7465646279746573u};

    for (size_t at = 0; at <= cid.n; at += 8) {
        size_t left = cid.n - at;
        uint64_t m = 0;

        if (left)
            memcpy(&m, cid.p + at, left < 8 ? left : 8);
        m = le64toh(m);
        if (left < 8)
            m |= (uint64_t)cid.n << 56;
        v[3] ^= m;
        sip_round(v);
        v[0] ^= m;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return (size_t)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

/* The entry of `cid`, or the free one where it belongs. */
static size_t entry_of(const struct cid_table *t, struct span cid)
{
    size_t i = hash(t, cid) & (t->cap - 1);

    while (t->at[i].conn && !cid_is(&t->at[i].cid, cid))
        i = (i + 1) & (t->cap - 1);
    return i;
}

int cid_table_init(struct cid_table *t, const struct rng *rng)
{
    *t = (struct cid_table){.cap = TABLE_MIN};
    rng_fill(rng, t->key, sizeof(t->key));
    t->at = calloc(t->cap, sizeof(*t->at));
    return t->at ? 0 : QUIC_NOMEM;
}

void cid_table_free(struct cid_table *t)
{
    free(t->at);
    *t = (struct cid_table){0};
}

struct quic_conn *cid_table_search(struct cid_table *t, struct span cid)
{
    size_t i = entry_of(t, cid);

    if (t->at[i].conn)
        t->last = i;
    return t->at[i].conn;
}

static int grow(struct cid_table *t)
{
    struct cid_table_entry *old = t->at, *at = calloc(t->cap * 2, sizeof(*at));
    size_t cap = t->cap;

    if (!at)
        return QUIC_NOMEM;
    t->at = at;
    t->cap = cap * 2;
    for (size_t i = 0; i < cap; i++)
        if (old[i].conn)
            at[entry_of(t, cid_span(&old[i].cid))] = old[i];
    free(old);
    return 0;
}

int cid_table_add(struct cid_table *t, const struct quic_cid *cid, struct quic_conn *conn)
{
    struct cid_table_entry *e;

    if (2 * (t->n + 1) > t->cap && grow(t))
        return QUIC_NOMEM;
    e = &t->at[entry_of(t, cid_span(cid))];
    if (e->conn)
        return 0;
    *e = (struct cid_table_entry){*cid, conn};
    t->n++;
    return 0;
}

/* Free an entry, moving up what had been pushed behind it. */
static void erase(struct cid_table *t, size_t i)
{
    size_t mask = t->cap - 1, hole = i;

    t->at[hole].conn = NULL;
    t->n--;
    for (size_t j = (i + 1) & mask; t->at[j].conn; j = (j + 1) & mask) {
        size_t home = hash(t, cid_span(&t->at[j].cid)) & mask;

        if (((j - home) & mask) < ((j - hole) & mask))
            continue;
        t->at[hole] = t->at[j];
        t->at[j].conn = NULL;
        hole = j;
    }
}

void cid_table_remove(struct cid_table *t, const struct quic_cid *cid,
                      const struct quic_conn *conn)
{
    size_t i = entry_of(t, cid_span(cid));

    if (t->at[i].conn == conn)
        erase(t, i);
}

void cid_table_forget(struct cid_table *t, const struct quic_conn *conn)
{
    size_t i = 0;

    while (i < t->cap) {
        if (t->at[i].conn == conn)
            erase(t, i); /* another one may have moved in: look again */
        else
            i++;
    }
}

bool cid_table_check(const struct cid_table *t)
{
    size_t n = 0;

    for (size_t i = 0; i < t->cap; i++) {
        n += t->at[i].conn != NULL;
        if (t->at[i].conn && entry_of(t, cid_span(&t->at[i].cid)) != i)
            return false;
    }
    return n == t->n && 2 * n <= t->cap && t->last < t->cap;
}
