/* Address validation tokens: what they are bound to, and that nothing else passes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "quic/token.h"

#define UNIX (1700000000 * NS_PER_S)
#define NOW  (5 * NS_PER_S)

static const uint8_t secret[32] = "a secret that the server keeps";
static const struct quic_addr v4 = {4, {192, 0, 2, 1}, 4433};
static const struct quic_addr v6 = {6, {0x20, 0x01, 0x0d, 0xb8, [15] = 1}, 4433};
static const struct token_retry ids = {.original_dcid = {20, "abcdefghijklmnopqrst"},
                                       .scid = {8, "retry-id"}};

static uint64_t seed = 1;

static void fill(void *ctx, void *out, size_t n)
{
    uint64_t *s = ctx;
    uint8_t *p = out;
    for (size_t i = 0; i < n; i++) {
        *s = *s * 6364136223846793005u + 1442695040888963407u;
        p[i] = (uint8_t)(*s >> 56);
    }
}

static const struct rng rng = {fill, &seed};

static struct token_key key_of(const uint8_t s[32], ns_t offset)
{
    struct token_key k;
    assert_int_equal(token_key_init(&k, s, offset, &rng), 0);
    return k;
}

/* Both kinds, by index, as one call: `n` is their size. */
struct made {
    uint8_t b[TOKEN_RETRY_SIZE];
    size_t n;
};

static struct made make(const struct token_key *k, bool retry, const struct quic_addr *a)
{
    struct made m = {.n = retry ? TOKEN_RETRY_SIZE : TOKEN_NEW_SIZE};
    assert_int_equal(retry ? token_seal_retry(k, &rng, a, NOW, &ids, m.b)
                           : token_seal_new(k, &rng, a, NOW, m.b),
                     0);
    return m;
}

static enum token_verdict judge(const struct token_key *k, const struct made *m,
                                const struct quic_addr *a, ns_t now)
{
    struct token_retry out;
    return token_open(k, span_of(m->b, m->n), a, now, &out);
}

static const enum token_verdict good[] = {TOKEN_NEW, TOKEN_RETRY};
static const enum token_verdict bad[] = {TOKEN_NONE, TOKEN_RETRY_WRONG};

static void test_round_trip(void **state)
{
    (void)state;
    struct token_key k = key_of(secret, UNIX);
    for (int v = 0; v < 2; v++) {
        const struct quic_addr *a = v ? &v6 : &v4;
        struct made m = make(&k, true, a), n = make(&k, false, a);
        struct token_retry out;
        assert_int_equal(token_open(&k, span_of(m.b, m.n), a, NOW, &out), TOKEN_RETRY);
        assert_true(cid_eq(&out.original_dcid, &ids.original_dcid));
        assert_true(cid_eq(&out.scid, &ids.scid));
        assert_int_equal(judge(&k, &n, a, NOW), TOKEN_NEW);
    }
}

/* Nothing of the address or the IDs is to be seen, and no two tokens are alike (8.1.3). */
static void test_opaque(void **state)
{
    (void)state;
    struct token_key k = key_of(secret, UNIX);
    struct made a = make(&k, true, &v6), b = make(&k, true, &v6);
    assert_null(memmem(a.b, a.n, ids.original_dcid.b, 8));
    assert_null(memmem(a.b, a.n, ids.scid.b, 8));
    assert_null(memmem(a.b, a.n, v6.ip, 4));
    unsigned same = 0;
    for (size_t i = 1; i < a.n; i++)
        same += a.b[i] == b.b[i];
    assert_true(same < 8);
}

static void test_bound(void **state)
{
    (void)state;
    struct token_key k = key_of(secret, UNIX);
    for (int retry = 0; retry < 2; retry++) {
        struct made m = make(&k, retry, &v6);
        struct quic_addr a = v6;
        for (size_t bit = 0; bit < 128; bit++) {
            a = v6;
            a.ip[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_int_equal(judge(&k, &m, &a, NOW), bad[retry]);
        }
        a = v6;
        a.family = 4;
        assert_int_equal(judge(&k, &m, &a, NOW), bad[retry]);
        /* Another port: only the Retry token is bound to it (8.1.4). */
        a = v6;
        a.port++;
        assert_int_equal(judge(&k, &m, &a, NOW), retry ? TOKEN_RETRY_WRONG : TOKEN_NEW);
    }
}

static void test_expiry(void **state)
{
    (void)state;
    static const ns_t lives[] = {TOKEN_NEW_LIFE, TOKEN_RETRY_LIFE};
    for (int clock = 0; clock < 2; clock++) {
        struct token_key k = key_of(secret, clock ? UNIX : 0);
        for (int retry = 0; retry < 2; retry++) {
            struct made m = make(&k, retry, &v4);
            assert_int_equal(judge(&k, &m, &v4, NOW + lives[retry] - 1), good[retry]);
            assert_int_equal(judge(&k, &m, &v4, NOW + lives[retry]), bad[retry]);
            assert_int_equal(judge(&k, &m, &v4, NS_NEVER - UNIX), bad[retry]);
            /* From the future: the clock was set back. */
            assert_int_equal(judge(&k, &m, &v4, NOW - 1), bad[retry]);
        }
    }
}

static void test_tampered(void **state)
{
    (void)state;
    struct token_key k = key_of(secret, UNIX);
    for (int retry = 0; retry < 2; retry++) {
        struct made m = make(&k, retry, &v4);
        for (size_t bit = 0; bit < 8 * m.n; bit++) {
            m.b[bit / 8] ^= (uint8_t)(1 << bit % 8);
            /* With another type it is none of ours: no token at all. */
            assert_int_equal(judge(&k, &m, &v4, NOW), bit < 8 ? TOKEN_NONE : bad[retry]);
            m.b[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        assert_int_equal(judge(&k, &m, &v4, NOW), good[retry]);
        struct made cut = m;
        for (cut.n = 0; cut.n < m.n; cut.n++)
            assert_int_equal(judge(&k, &cut, &v4, NOW), TOKEN_NONE);
    }
    uint8_t longer[TOKEN_RETRY_SIZE + 1] = {0};
    struct made m = make(&k, true, &v4);
    struct token_retry out;
    memcpy(longer, m.b, m.n);
    assert_int_equal(token_open(&k, span_of(longer, sizeof(longer)), &v4, NOW, &out),
                     TOKEN_NONE);
}

/* One kind does not pass as the other: its first byte is authenticated. */
static void test_other_type(void **state)
{
    (void)state;
    struct token_key k = key_of(secret, UNIX);
    struct quic_addr a = v4;
    a.port = 0; /* so that even the binding is the same */
    struct made retry = make(&k, true, &a), new = make(&k, false, &a), mix;
    mix = retry;
    mix.b[0] = new.b[0];
    assert_int_equal(judge(&k, &mix, &a, NOW), TOKEN_NONE);
    mix.n = TOKEN_NEW_SIZE;
    assert_int_equal(judge(&k, &mix, &a, NOW), TOKEN_NONE);
    mix = new;
    mix.b[0] = retry.b[0];
    assert_int_equal(judge(&k, &mix, &a, NOW), TOKEN_NONE);
    mix.n = TOKEN_RETRY_SIZE;
    assert_int_equal(judge(&k, &mix, &a, NOW), TOKEN_RETRY_WRONG);
}

static void test_keys(void **state)
{
    (void)state;
    uint8_t other[32];
    memcpy(other, secret, 32);
    other[31] ^= 1;
    struct token_key k = key_of(secret, UNIX), wrong = key_of(other, UNIX);
    /* A restart an hour later: `now` begins anew, Unix time goes on. */
    ns_t hour = 3600 * NS_PER_S;
    struct token_key again = key_of(secret, UNIX + hour);
    /* Without Unix time the key is the process's own. */
    struct token_key mine = key_of(secret, 0), other_mine = key_of(secret, 0);
    for (int retry = 0; retry < 2; retry++) {
        struct made m = make(&k, retry, &v4), own = make(&mine, retry, &v4);
        assert_int_equal(judge(&wrong, &m, &v4, NOW), bad[retry]);
        assert_int_equal(judge(&again, &m, &v4, NOW), retry ? TOKEN_RETRY_WRONG : TOKEN_NEW);
        assert_int_equal(judge(&again, &m, &v4, NOW + 24 * hour), bad[retry]);
        assert_int_equal(judge(&mine, &own, &v4, NOW), good[retry]);
        assert_int_equal(judge(&other_mine, &own, &v4, NOW), bad[retry]);
        assert_int_equal(judge(&k, &own, &v4, NOW), bad[retry]);
    }
}

static void test_garbage(void **state)
{
    (void)state;
    struct token_key k = key_of(secret, UNIX);
    struct token_retry out;
    uint8_t b[200];
    assert_int_equal(token_open(&k, (struct span){0}, &v4, NOW, &out), TOKEN_NONE);
    for (int i = 0; i < 5000; i++) {
        fill(&seed, b, sizeof(b));
        size_t n = b[0] % 3 ? (b[0] % 3 == 1 ? TOKEN_NEW_SIZE : TOKEN_RETRY_SIZE) : b[1] % 190;
        b[2] = i % 2 ? 0x72 : 0x6e; /* the kinds that there are */
        enum token_verdict v = token_open(&k, span_of(b + 2, n), &v4, NOW, &out);
        assert_true(v == TOKEN_NONE || v == TOKEN_RETRY_WRONG);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_opaque),
        cmocka_unit_test(test_bound),      cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_tampered),   cmocka_unit_test(test_other_type),
        cmocka_unit_test(test_keys),       cmocka_unit_test(test_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
