/* ACK frequency: fewer packets back, the same transfer; with a peer that has it, and without. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "quic/conn.h"
#include "test/sim/world.h"

#define PPM 10000u /* per cent, in millionths */
#define MB  1000000u

struct outcome {
    double seconds, per_data; /* packets of the client for one of the server */
    uint64_t asked;           /* ACK_FREQUENCY frames */
};

static struct outcome download(const char *cc, uint64_t seed, uint32_t loss, bool client,
                               bool server)
{
    struct world w;
    struct outcome o;
    world_init(&w, seed);
    w.client_cfg.conn.cc = w.server_cfg.conn.cc = cc;
    w.client_cfg.conn.ack_frequency = client;
    w.server_cfg.conn.ack_frequency = server;
    for (int d = UP; d <= DOWN; d++)
        world_link(&w, (enum world_dir)d, sim_loss(&w.sim, loss, 0));
    world_path(&w, 20 * NS_PER_MS, 100 * MB, 500000);
    w.xfer.streams = 1;
    w.xfer.down = loss ? 8 * MB : 20 * MB;
    world_start(&w, 1);
    ns_t start = w.sim.now;
    WORLD_CHECK(&w, world_run(&w, 60 * NS_PER_S));
    WORLD_CHECK(&w, w.xfer.bad_bytes == 0 && !w.sim.livelock);
    const struct quic_conn *from = w.server->conn[0], *to = w.client->conn[0];
    o.seconds = (double)(w.sim.now - start) / 1e9;
    o.per_data =
        (double)to->path[0].recovery.packets_sent / (double)from->path[0].recovery.packets_sent;
    o.asked = from->ackfreq.next_seq;
    WORLD_CHECK(&w, to->ackfreq.next_seq == 0); /* has no data to ask for */
    WORLD_CHECK(&w, to->ackfreq_got <= o.asked);
    if (getenv("SHOW"))
        print_error("%s loss %.1f%% ext %d/%d: %.2f s, %.4f packets back, asked %llu times, "
                    "%llu spurious\n",
                    cc, (double)loss / PPM, client, server, o.seconds, o.per_data,
                    (unsigned long long)o.asked,
                    (unsigned long long)from->path[0].recovery.packets_spurious);
    world_free(&w);
    return o;
}

static void test_fewer(void **state)
{
    static const char *const controllers[] = {"cubic", "newreno", "bbr"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(controllers); i++) {
        struct outcome before = download(controllers[i], 1, 0, false, true);
        struct outcome after = download(controllers[i], 1, 0, true, true);
        assert_int_equal(before.asked, 0);
        assert_true(after.asked > 0 && after.asked < 100);
        assert_true(before.per_data > 0.4 && before.per_data < 0.6);
        assert_true(after.per_data < before.per_data / 5);
        assert_true(after.seconds < before.seconds * 1.05);
    }
}

/* Losses are found as fast: an ACK comes at once where it says that something is lost. */
static void test_loss(void **state)
{
    static const char *const controllers[] = {"cubic", "bbr"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(controllers); i++) {
        double before = 0, after = 0;
        for (uint64_t seed = 1; seed <= 2; seed++) {
            before += download(controllers[i], seed, PPM / 2, false, true).seconds;
            after += download(controllers[i], seed, PPM / 2, true, true).seconds;
        }
        if (after > before * 1.25)
            print_error("%s: %.2f and %.2f s\n", controllers[i], before, after);
        assert_true(after < before * 1.25);
    }
}

/* The probe timeout goes by the delay that was asked for, once that is known to be heard. */
static void test_delay(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    world_path(&w, 20 * NS_PER_MS, 100 * MB, 500000);
    w.xfer.streams = 1;
    w.xfer.down = 5 * MB;
    world_start(&w, 1);
    assert_true(world_run(&w, 20 * NS_PER_S));
    const struct quic_conn *from = w.server->conn[0], *to = w.client->conn[0];
    const struct ackrx *rx = &to->path[0].ack[SPACE_APP];
    assert_true(rx->tolerance > 8 && rx->tolerance <= ACKFREQ_MAX);
    assert_int_equal(rx->reordering, 3);
    assert_in_range(rx->max_delay, 9 * NS_PER_MS, 25 * NS_PER_MS);
    assert_true(from->path[0].recovery.state.max_ack_delay >= rx->max_delay);
    assert_true(from->path[0].recovery.state.max_ack_delay < 25 * NS_PER_MS);
    /* A ping is answered at once. */
    ns_t sent = w.sim.now;
    quic_ping(w.server->conn[0], 0);
    sim_host_wake(w.server);
    sim_run(&w.sim, sent + 43 * NS_PER_MS, NULL, NULL);
    assert_true(from->path[0].last_received >= sent + 40 * NS_PER_MS);
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fewer),
        cmocka_unit_test(test_loss),
        cmocka_unit_test(test_delay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
