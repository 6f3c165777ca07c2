/*
 * Setting up a tunnel with the n-th allocation failing, for every n: a clean error, the
 * old state kept, nothing leaked.
 */
#include "test/masque_util.h"

#include "masque/connect_ip.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#endif

static long left = -1; /* allocations that still succeed; negative: all */
static bool failed;
static long live; /* blocks handed out and not freed */

#ifndef SANITIZED
/* The program's own malloc and realloc stand before the C library's. */
void *__libc_malloc(size_t n);
void *__libc_realloc(void *p, size_t n);
void __libc_free(void *p);

static bool refuse(void)
{
    if (left < 0)
        return false;
    if (left-- > 0)
        return false;
    left = -1; /* just this one */
    failed = true;
    return true;
}

void *malloc(size_t n)
{
    void *p = refuse() ? NULL : __libc_malloc(n);

    live += p != NULL;
    return p;
}

void *realloc(void *old, size_t n)
{
    void *p = refuse() ? NULL : __libc_realloc(old, n);

    live += !old && p;
    return p;
}

void free(void *p)
{
    live -= p != NULL;
    __libc_free(p);
}
#endif

/* Carry bytes one way, in halves so that the reader must keep some. */
static int carry(struct cip *from, struct cip *to)
{
    struct span s;

    while ((s = cip_out_bytes(from)).n > 0) {
        size_t half = s.n > 1 ? s.n / 2 : 1;
        struct span in = span_of(s.p, half), dgram;
        int err = cip_recv(to, &in, &dgram);

        if (err)
            return err;
        cip_out_done(from, half);
    }
    return 0;
}

static int once(void)
{
    static struct ip_range r[400];
    const struct cip_config cfg = {.stream_id = 0};
    const struct ip_assign a[2] = {{1, prefix("10.0.0.2")}, {0, prefix("fd00::2")}};
    const struct ip_prefix want = prefix("0.0.0.0/32");
    const struct path_rate rate = {1, 4000};
    struct cip client, proxy;
    int err;

    for (uint32_t i = 0; i < ARRAY_LEN(r); i++)
        r[i] = (struct ip_range){ip_addr_v4(2 * i), ip_addr_v4(2 * i), 0};
    assert_int_equal(cip_init(&client, &cfg), 0);
    assert_int_equal(cip_init(&proxy, &cfg), 0);
    if ((err = cip_tell_rates(&client, &rate, 1)))
        assert_int_equal(client.nour_rates, 0);
    if (err == 0 && (err = cip_request(&client, &want, 1, NULL)))
        assert_int_equal(client.nopen + client.nasking, 0);
    if (err == 0)
        err = carry(&client, &proxy);
    if (err == 0)
        assert_int_equal(proxy.ntheir_rates, 1);
    if (err == 0 && (err = cip_assign(&proxy, a, 2)))
        assert_true(proxy.ntheirs == 0 && proxy.nasked == 1);
    if (err == 0 && (err = cip_advertise(&proxy, r, ARRAY_LEN(r))))
        assert_int_equal(proxy.our_routes.n, 0);
    if (err == 0 && (err = carry(&proxy, &client)))
        assert_int_equal(client.their_routes.n, 0);
    if (err == 0)
        assert_true(client.nours == 2 && client.their_routes.n == ARRAY_LEN(r));
    assert_true(cip_check(&client) && cip_check(&proxy));
    cip_free(&client);
    cip_free(&proxy);
    return err;
}

static void sweep(void **state)
{
    int n = 0, clean = 0, err;
    long before;

    (void)state;
#ifdef SANITIZED
    skip(); /* the sanitizer's own allocator can't be stood before */
#endif
    do {
        failed = false;
        left = n++;
        before = live;
        err = once();
        left = -1;
        /* the C library's sort does without memory where it gets none */
        assert_true(err == 0 || (failed && err == QUIC_NOMEM));
        clean += err != 0;
        assert_int_equal(live, before);
    } while (failed);
    assert_in_range(clean, 6, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sweep)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
