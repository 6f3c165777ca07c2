/* repair: fates, floors, share, deadline and bounds; and a long random run against an oracle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "sched/repair.h"
#include "test/rnd.h"

#define DEADLINE (500 * NS_PER_MS)

static uint8_t bytes[REPAIR_PACKET + 1];

static uint64_t keep(struct repair *r, unsigned flow, uint32_t number, ns_t now)
{
    uint64_t tag;

    memset(bytes, (int)(number + flow), 1000);
    tag = repair_keep(r, flow, number, flow % 3, span_of(bytes, number % 50),
                      span_of(bytes, 1000 - number % 7 - number % 50), now);
    assert_true(repair_check(r));
    return tag;
}

/* The next packet to send again, whose bytes must be its own; its number, or -1. */
static int64_t again(struct repair *r, ns_t now, struct repair_item *it)
{
    if (!repair_next(r, false, now, it))
        return -1;
    assert_true(repair_check(r));
    assert_int_equal(it->pkt.n, 1000 - it->number % 7);
    for (size_t i = 0; i < it->pkt.n; i++)
        assert_int_equal(it->pkt.p[i], (uint8_t)(it->number + it->flow));
    return it->number;
}

static void lost_and_sent_again(void **state)
{
    struct repair_item it;
    struct repair r;
    uint64_t tag[5];

    (void)state;
    repair_init(&r, 1 << 20, DEADLINE);
    assert_int_equal(repair_floor(&r, 1, 7, 0), 0);
    for (uint32_t i = 0; i < 5; i++)
        tag[i] = keep(&r, 1, i, i);
    assert_int_equal(again(&r, 5, &it), -1);
    assert_int_equal(repair_floor(&r, 1, 5, 5), 5);
    repair_acked(&r, tag[0]);
    repair_lost(&r, tag[3], 1);
    repair_lost(&r, tag[1], 1);
    repair_lost(&r, tag[1], 1); /* told twice */
    assert_int_equal(again(&r, 5, &it), 1);
    assert_int_equal(it.tag, tag[1]);
    assert_int_equal(it.path, 1);
    repair_resent(&r, it.tag, 2);
    assert_int_equal(again(&r, 5, &it), 3);
    repair_acked(&r, tag[3]); /* late, not lost: nothing to do */
    assert_int_equal(again(&r, 5, &it), -1);
    repair_lost(&r, tag[1], 1); /* the first once more: the copy is under way */
    assert_int_equal(again(&r, 5, &it), -1);
    repair_lost(&r, tag[1], 2); /* the copy, too */
    assert_int_equal(again(&r, 5, &it), 1);
    assert_int_equal(it.path, 2);
    repair_resent(&r, it.tag, 0);
    assert_int_equal(repair_floor(&r, 1, 5, 5), 4);
    repair_acked(&r, tag[1]);
    assert_int_equal(repair_floor(&r, 1, 5, 5), 3);
    repair_acked(&r, tag[2]);
    repair_acked(&r, tag[4]);
    repair_acked(&r, 77); /* of no packet */
    repair_lost(&r, 0, 0);
    assert_int_equal(repair_floor(&r, 1, 5, 5), 0);
    assert_false(repair_holds(&r, 1, 5));
    assert_int_equal(r.stats.spurious, 1);
    assert_int_equal(r.stats.resent, 2);
    repair_trim(&r, 6);
    assert_null(r.bytes);
    keep(&r, 1, 5, 7); /* goes on after that */
    assert_true(repair_holds(&r, 1, 7));
    repair_free(&r);
}

/* What was kept and then not sent leaves no trace; what fits no path is given up. */
static void taken_back(void **state)
{
    struct repair_item it;
    struct repair r;
    uint64_t tag[6];

    (void)state;
    repair_init(&r, 1 << 20, DEADLINE);
    assert_true(repair_deadline(&r) == NS_NEVER && !repair_holds_any(&r));
    tag[0] = keep(&r, 1, 0, 10);
    tag[1] = keep(&r, 2, 0, 11);
    tag[2] = keep(&r, 1, 1, 12);
    tag[3] = keep(&r, 1, 2, 13);
    repair_unkeep(&r, tag[2]); /* not the last: nothing happens */
    repair_unkeep(&r, tag[3]);
    repair_unkeep(&r, tag[2]);
    assert_true(repair_check(&r));
    repair_lost(&r, tag[2], 1);
    assert_int_equal(again(&r, 14, &it), -1);
    assert_int_equal(repair_floor(&r, 1, 1, 14), 1);
    tag[4] = keep(&r, 1, 1, 15);
    assert_int_equal(tag[4], tag[2]);
    tag[5] = keep(&r, 1, 2, 16);
    repair_acked(&r, tag[0]);
    assert_int_equal(repair_floor(&r, 1, 3, 17), 2); /* the chain is whole */
    assert_int_equal(repair_floor(&r, 2, 1, 17), 1);
    assert_int_equal(repair_deadline(&r), 11 + DEADLINE + 1);
    repair_lost(&r, tag[4], 1);
    repair_give_up(&r, tag[4]);
    repair_give_up(&r, tag[4]);
    assert_int_equal(r.stats.given_told, 1);
    assert_int_equal(again(&r, 18, &it), -1);
    assert_int_equal(repair_floor(&r, 1, 3, 18), 1);
    repair_unkeep(&r, tag[5]);
    repair_acked(&r, tag[1]);
    assert_false(repair_holds_any(&r));
    assert_true(repair_check(&r) && repair_bytes(&r) > 0);
    repair_free(&r);
    assert_int_equal(repair_bytes(&r), 0);
}

/* A tag that was taken back and went to another flow says nothing of the first one's floor. */
static void taken_back_and_given_away(void **state)
{
    struct repair r;
    uint64_t tag;

    (void)state;
    repair_init(&r, 1 << 20, DEADLINE);
    keep(&r, 2, 0, 10); /* holds the others in the ring */
    repair_acked(&r, keep(&r, 1, 0, 10));
    tag = keep(&r, 1, 1, 11);
    assert_int_equal(repair_floor(&r, 1, 2, 11), 1);
    repair_unkeep(&r, tag);
    assert_int_equal(keep(&r, 2, 1, 12), tag);
    assert_int_equal(repair_floor(&r, 1, 1, 12), 0);
    assert_false(repair_holds(&r, 1, 12));
    tag = keep(&r, 1, 1, 13);
    assert_int_equal(repair_floor(&r, 1, 2, 13), 1);
    repair_free(&r);
}

/* A path that loses more than the share allows and then dies: what it lost is not in the way. */
static void a_path_that_fades(void **state)
{
    struct repair_item it;
    struct repair r;
    uint64_t tag[600];

    (void)state;
    repair_init(&r, 1 << 20, DEADLINE);
    for (uint32_t i = 0; i < 600; i++)
        tag[i] = keep(&r, 4, i, 1); /* over path 1 */
    for (uint32_t i = 0; i < 500; i++)
        repair_lost(&r, tag[i], 1);
    while (again(&r, 2, &it) >= 0)
        repair_resent(&r, it.tag, 2);
    assert_true(r.lost > 100);
    repair_path_lost(&r, 1, 2);
    assert_int_equal(r.pressing, r.lost);
    while (again(&r, 3, &it) >= 0)
        repair_resent(&r, it.tag, 2);
    assert_int_equal(r.lost, 0);
    repair_free(&r);
}

/* Packets of hardly a byte are bounded by their records. */
static void bounded_by_records(void **state)
{
    struct repair r;

    (void)state;
    repair_init(&r, 1 << 20, DEADLINE);
    for (uint32_t i = 0; i < 100000; i++)
        assert_true(repair_keep(&r, 1, i, 0, span_of(bytes, 1), span_of(bytes, 0), 1) > 0);
    assert_true(repair_check(&r) && repair_bytes(&r) <= 2 << 20);
    assert_int_equal(r.stats.given_memory, 100000 - (1 << 20) / REPAIR_RECORD);
    repair_free(&r);
}

static void past_the_deadline(void **state)
{
    struct repair_item it;
    struct repair r;

    (void)state;
    repair_init(&r, 1 << 20, DEADLINE);
    repair_lost(&r, keep(&r, 4, 10, 0), 1);
    keep(&r, 4, 11, 100);
    assert_int_equal(again(&r, DEADLINE, &it), 10);
    assert_int_equal(again(&r, DEADLINE + 1, &it), -1);
    assert_int_equal(repair_floor(&r, 4, 12, DEADLINE + 1), 1);
    assert_int_equal(repair_floor(&r, 4, 12, DEADLINE + 101), 0);
    assert_int_equal(r.stats.given_deadline, 2);
    keep(&r, 4, 12, 500); /* and where nothing is asked for: by time alone */
    keep(&r, 4, 13, 501);
    assert_int_equal(repair_deadline(&r), 500 + DEADLINE + 1);
    repair_tick(&r, repair_deadline(&r) - 1);
    assert_int_equal(repair_deadline(&r), 500 + DEADLINE + 1);
    repair_tick(&r, repair_deadline(&r));
    assert_int_equal(repair_deadline(&r), 501 + DEADLINE + 1);
    assert_int_equal(r.stats.given_deadline, 3);
    repair_free(&r);
}

static void a_share_of_what_is_sent(void **state)
{
    struct repair_item it;
    struct repair r;
    uint64_t tag[600];
    size_t sent = 0;

    (void)state;
    repair_init(&r, 1 << 20, DEADLINE);
    for (uint32_t i = 0; i < 600; i++) {
        tag[i] = keep(&r, i % 3, i, 0);
        repair_lost(&r, tag[i], i % 3);
    }
    assert_int_equal(r.pressing, 0);
    for (; again(&r, 1, &it) >= 0; sent += it.pkt.n)
        repair_resent(&r, it.tag, 0);
    assert_true(sent <= REPAIR_CREDIT && sent > REPAIR_CREDIT - 1000);
    /* Sending more gives new credit, a quarter of it. */
    sent = 0;
    for (uint32_t i = 600; i < 640; i++)
        keep(&r, 0, i, 2);
    for (; again(&r, 2, &it) >= 0; sent += it.pkt.n)
        repair_resent(&r, it.tag, 0);
    assert_true(sent > 9000 && sent < 12000);
    /* Nothing else waits: what keeps it? */
    assert_true(r.lost > 0 && repair_next(&r, true, 2, &it));
    /* A path that is given up is exempt. */
    sent = 0;
    for (uint32_t i = 640; i < 660; i++)
        keep(&r, 1, i, 3);
    repair_path_lost(&r, 1, 3);
    while (again(&r, 3, &it) >= 0) {
        sent++;
        repair_resent(&r, it.tag, 5);
        if (sent > 10000)
            break;
    }
    assert_true(r.stats.resent_bytes > 0 && r.stats.resent_bytes < 400000);
    repair_free(&r);
}

static void a_dead_path(void **state)
{
    struct repair_item it;
    struct repair r;

    (void)state;
    repair_init(&r, 8 << 20, DEADLINE);
    for (uint32_t i = 0; i < 3000; i++)
        keep(&r, i % 3, i, 0); /* over path i % 3 */
    repair_path_lost(&r, 1, 1);
    for (uint32_t i = 1; i < 3000; i += 3) { /* a megabyte, all of it, in order */
        assert_int_equal(again(&r, 1, &it), i);
        repair_resent(&r, it.tag, 2);
    }
    assert_int_equal(again(&r, 1, &it), -1);
    repair_free(&r);
}

static void bounded(void **state)
{
    struct repair_item it;
    struct repair r;

    (void)state;
    repair_init(&r, 300000, NS_NEVER);
    assert_int_equal(r.max_bytes, 262144);
    assert_int_equal(repair_keep(&r, 0, 0, 0, span_of(bytes, 0), span_of(bytes, 0), 0), 0);
    assert_int_equal(
        repair_keep(&r, 0, 0, 0, span_of(bytes, 1), span_of(bytes, REPAIR_PACKET), 0), 0);
    for (uint32_t i = 0; i < 5000; i++) {
        assert_true(keep(&r, 2, i, i) != 0);
        if (i % 100 == 50)
            repair_lost(&r, r.next - 1, 2);
        assert_true(r.cap <= 262144 && r.records <= 512);
        assert_true(repair_floor(&r, 2, i + 1, i) <= 264);
    }
    assert_true(r.stats.given_memory > 4700);
    assert_int_equal(again(&r, 5000, &it), 4750);
    repair_free(&r);
}

#define MANY 20000

/* Random fates: floors, and what is sent again, are those of a plain table. */
static void random_runs(void **state)
{
    static struct {
        uint64_t tag;
        unsigned flow;
        uint32_t number;
        ns_t at;
        uint32_t path;
        enum { FLYING, LOST, SETTLED } is;
    } t[MANY];

    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        uint32_t number[4] = {0xffff00, 0, 7, 100};
        uint64_t x = seed;
        size_t n = 0, low = 0;
        struct repair r;
        ns_t now = 0;

        repair_init(&r, 64 << 20, DEADLINE);
        while (n < MANY) {
            size_t i = low + rnd(&x) % (n - low + 1);
            struct repair_item it;

            now += rnd(&x) % NS_PER_MS;
            r.credit = REPAIR_CREDIT;
            switch (rnd(&x) % 6) {
            case 0:
            case 1: {
                unsigned f = rnd(&x) % 4;
                t[n].flow = f;
                t[n].number = number[f];
                t[n].at = now;
                t[n].is = FLYING;
                t[n].path = f % 3;
                t[n].tag = keep(&r, f, number[f], now);
                assert_true(t[n].tag);
                number[f] = (number[f] + 1) & 0xffffff;
                n++;
                break;
            }
            case 2:
            case 3:
                if (i < n) {
                    repair_acked(&r, t[i].tag);
                    t[i].is = SETTLED;
                }
                break;
            case 4:
                if (i < n) {
                    repair_lost(&r, t[i].tag, t[i].path);
                    if (t[i].is == FLYING)
                        t[i].is = LOST;
                }
                break;
            default:
                if (again(&r, now, &it) >= 0) {
                    for (i = low; t[i].is != LOST || now - t[i].at > DEADLINE; i++)
                        ;
                    assert_int_equal(it.tag, t[i].tag);
                    repair_resent(&r, it.tag, t[i].path = rnd(&x) % 3);
                    t[i].is = FLYING;
                }
            }
            while (low < n && (t[low].is == SETTLED || now - t[low].at > DEADLINE))
                low++;
            for (unsigned f = 0; f < 4; f++) {
                uint32_t floor = 0;

                for (i = low; i < n; i++) {
                    if (t[i].flow == f && t[i].is != SETTLED && now - t[i].at <= DEADLINE) {
                        floor = (number[f] - t[i].number) & 0xffffff;
                        break;
                    }
                }
                assert_int_equal(repair_floor(&r, f, number[f], now), floor);
            }
            assert_true(repair_check(&r));
        }
        repair_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lost_and_sent_again), cmocka_unit_test(taken_back),
        cmocka_unit_test(past_the_deadline),   cmocka_unit_test(a_share_of_what_is_sent),
        cmocka_unit_test(a_dead_path),         cmocka_unit_test(bounded),
        cmocka_unit_test(random_runs),         cmocka_unit_test(taken_back_and_given_away), cmocka_unit_test(a_path_that_fades),
        cmocka_unit_test(bounded_by_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
