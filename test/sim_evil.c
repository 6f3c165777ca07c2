/*
 * A hostile peer: for each thing that RFC 9000 forbids, the frame is sealed with real keys and
 * given to a real connection, which must close with the right code, or shrug.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "test/sim/evil.h"
#include "test/sim/world.h"

enum { SHRUG = -1 }; /* no error: the connection stays open */

/*
 * HANDSHAKE: the server has a connection, the client has heard nothing yet. KEYS: the client has
 * Handshake keys, the server hasn't heard of it. OPEN: confirmed.
 */
enum stage { HANDSHAKE, KEYS, OPEN };

/* Frames, one after the other, in bytes; a size of 0 is an empty payload. */
struct evil_case {
    const char *name;
    bool from_server;
    enum stage stage;
    enum quic_level level;
    int code;
    const char *frames;
    size_t n;
    uint8_t bits;
};

#define F(s) s, sizeof(s) - 1

#define CID8                                                                                   \
    "\x08"                                                                                     \
    "12345678"
#define TOKEN "0123456789abcdef"

// clang-format off
static const struct evil_case cases[] = {
    /* frames where they don't belong (12.4, 12.5) */
    {"STREAM in Initial", false, HANDSHAKE, LEVEL_INITIAL, QUIC_PROTOCOL_VIOLATION, F("\x08\x00x"), 0},
    {"DATAGRAM in Initial", false, HANDSHAKE, LEVEL_INITIAL, QUIC_PROTOCOL_VIOLATION, F("\x31\x01x"), 0},
    {"application close in Initial", false, HANDSHAKE, LEVEL_INITIAL, QUIC_PROTOCOL_VIOLATION, F("\x1d\x00\x00"), 0},
    {"HANDSHAKE_DONE in Initial", true, HANDSHAKE, LEVEL_INITIAL, QUIC_PROTOCOL_VIOLATION, F("\x1e"), 0},
    {"PATH_CHALLENGE in Initial", false, HANDSHAKE, LEVEL_INITIAL, QUIC_PROTOCOL_VIOLATION, F("\x1a" "abcdefgh"), 0},
    {"NEW_CONNECTION_ID in Initial", true, HANDSHAKE, LEVEL_INITIAL, QUIC_PROTOCOL_VIOLATION, F("\x18\x09\x00" CID8 TOKEN), 0},
    {"STREAM in Handshake", false, KEYS, LEVEL_HANDSHAKE, QUIC_PROTOCOL_VIOLATION, F("\x08\x00x"), 0},
    {"MAX_DATA in Handshake", false, KEYS, LEVEL_HANDSHAKE, QUIC_PROTOCOL_VIOLATION, F("\x10\x44\x00"), 0},
    {"DATAGRAM in Handshake", false, KEYS, LEVEL_HANDSHAKE, QUIC_PROTOCOL_VIOLATION, F("\x31\x01x"), 0},
    {"PATH_RESPONSE in Handshake", true, KEYS, LEVEL_HANDSHAKE, QUIC_PROTOCOL_VIOLATION, F("\x1b" "abcdefgh"), 0},
    {"RETIRE_CONNECTION_ID in Handshake", true, KEYS, LEVEL_HANDSHAKE, QUIC_PROTOCOL_VIOLATION, F("\x19\x00"), 0},
    {"NEW_TOKEN in Handshake", true, KEYS, LEVEL_HANDSHAKE, QUIC_PROTOCOL_VIOLATION, F("\x07\x01t"), 0},
    {"HANDSHAKE_DONE in Handshake", true, KEYS, LEVEL_HANDSHAKE, QUIC_PROTOCOL_VIOLATION, F("\x1e"), 0},
    {"application close in Handshake", true, KEYS, LEVEL_HANDSHAKE, QUIC_PROTOCOL_VIOLATION, F("\x1d\x00\x00"), 0},
    {"HANDSHAKE_DONE from a client", false, OPEN, LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x1e"), 0},
    {"NEW_TOKEN from a client", false, OPEN, LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x07\x01t"), 0},
    {"NEW_TOKEN without a token", true, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x07\x00"), 0},
    {"NEW_TOKEN", true, OPEN, LEVEL_APP, SHRUG, F("\x07\x01t"), 0},

    /* encoding (12.4, 19) */
    {"no frames", false, OPEN, LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F(""), 0},
    {"no frames in Handshake", false, KEYS, LEVEL_HANDSHAKE, QUIC_PROTOCOL_VIOLATION, F(""), 0},
    {"reserved bits of a Handshake header", true, KEYS, LEVEL_HANDSHAKE, QUIC_PROTOCOL_VIOLATION, F("\x01"), 0x04},
    {"unknown frame in Handshake", true, KEYS, LEVEL_HANDSHAKE, QUIC_FRAME_ENCODING_ERROR, F("\x21"), 0},
    {"reserved bits", false, OPEN, LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x01"), 0x18},
    {"reserved bits of a long header", false, HANDSHAKE, LEVEL_INITIAL, QUIC_PROTOCOL_VIOLATION, F("\x01"), 0x0c},
    {"unknown frame", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x21"), 0},
    {"frame type too long", false, OPEN, LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x40\x01"), 0},
    {"truncated frame", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x04\x00\x00"), 0},
    {"truncated CRYPTO", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x06\x00\x05xy"), 0},
    {"truncated STREAM", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x0a\x00\x05xy"), 0},
    {"offset past 2^62", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x0e\x00\xff\xff\xff\xff\xff\xff\xff\xff\x01x"), 0},
    {"MAX_STREAMS past 2^60", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x12\xd0\x00\x00\x00\x00\x00\x00\x01"), 0},
    {"STREAMS_BLOCKED past 2^60", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x16\xd0\x00\x00\x00\x00\x00\x00\x01"), 0},
    {"CRYPTO past 2^62", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x06\xff\xff\xff\xff\xff\xff\xff\xff\x01x"), 0},
    {"unidirectional MAX_STREAMS past 2^60", true, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x13\xd0\x00\x00\x00\x00\x00\x00\x01"), 0},
    {"unidirectional STREAMS_BLOCKED past 2^60", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x17\xd0\x00\x00\x00\x00\x00\x00\x01"), 0},
    {"truncated CONNECTION_CLOSE", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x1c\x00\x00\x05xy"), 0},
    {"truncated PATH_CHALLENGE", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x1a" "abc"), 0},
    {"truncated NEW_TOKEN", true, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x07\x05xy"), 0},
    {"truncated DATAGRAM", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x31\x05xy"), 0},
    {"only padding", false, OPEN, LEVEL_APP, SHRUG, F("\0\0\0\0\0\0\0\0"), 0},

    /* acknowledgements (13.1, 19.3) */
    {"ACK of a packet not sent", false, OPEN, LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x02\x80\x0f\xff\xff\x00\x00\x00"), 0},
    {"ACK range below zero", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x02\x00\x00\x00\x05"), 0},
    {"ACK gap below zero", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x02\x00\x00\x01\x00\x05\x00"), 0},
    {"ACK without its ranges", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x02\x00\x00\x20\x00"), 0},
    {"ACK in Handshake of a packet not sent", false, KEYS, LEVEL_HANDSHAKE, QUIC_PROTOCOL_VIOLATION, F("\x02\x80\x0f\xff\xff\x00\x00\x00"), 0},
    {"ACK of a number not sent, in a range", false, OPEN, LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x02\x80\x0f\xff\xff\x00\x01\x00\x80\x0f\xff\xf0\x00"), 0},
    {"ACK with ECN counts cut off", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x03\x00\x00\x00\x00\x01"), 0},
    {"ACK in Initial of a packet not sent", false, HANDSHAKE, LEVEL_INITIAL, QUIC_PROTOCOL_VIOLATION, F("\x02\x80\x0f\xff\xff\x00\x00\x00"), 0},

    /* streams (2 to 4, 19.4 to 19.14) */
    {"stream of the server, not open", false, OPEN, LEVEL_APP, QUIC_STREAM_STATE_ERROR, F("\x0a\x01\x01x"), 0},
    {"data on our own unidirectional stream", false, OPEN, LEVEL_APP, QUIC_STREAM_STATE_ERROR, F("\x0a\x03\x01x"), 0},
    {"stream beyond the limit", false, OPEN, LEVEL_APP, QUIC_STREAM_LIMIT_ERROR, F("\x0a\x44\x00\x01x"), 0},
    {"unidirectional stream beyond the limit", false, OPEN, LEVEL_APP, QUIC_STREAM_LIMIT_ERROR, F("\x0a\x44\x02\x01x"), 0},
    {"beyond the stream's window", false, OPEN, LEVEL_APP, QUIC_FLOW_CONTROL_ERROR, F("\x0e\x04\x80\x04\x00\x00\x01x"), 0},
    {"beyond the connection's window", false, OPEN, LEVEL_APP, QUIC_FLOW_CONTROL_ERROR, F("\x0e\x00\x80\x03\xff\xff\x01x\x0e\x04\x80\x03\xff\xff\x01x\x0e\x08\x80\x03\xff\xff\x01x\x0e\x0c\x80\x03\xff\xff\x01x\x0a\x10\x01x"), 0},
    {"RESET_STREAM beyond the connection's window", false, OPEN, LEVEL_APP, QUIC_FLOW_CONTROL_ERROR, F("\x04\x00\x00\x80\x04\x00\x00\x04\x04\x00\x80\x04\x00\x00\x04\x08\x00\x80\x04\x00\x00\x04\x0c\x00\x80\x04\x00\x00\x04\x10\x00\x01"), 0},
    {"RESET_STREAM below what came", false, OPEN, LEVEL_APP, QUIC_FINAL_SIZE_ERROR, F("\x0e\x04\x40\x64\x01x\x04\x04\x00\x05"), 0},
    {"RESET_STREAM of a stream beyond the limit", false, OPEN, LEVEL_APP, QUIC_STREAM_LIMIT_ERROR, F("\x04\x44\x00\x00\x00"), 0},
    {"RESET_STREAM of one not open", false, OPEN, LEVEL_APP, QUIC_STREAM_STATE_ERROR, F("\x04\x01\x00\x00"), 0},
    {"data on a stream not open, from the server", true, OPEN, LEVEL_APP, QUIC_STREAM_STATE_ERROR, F("\x0a\x00\x01x"), 0},
    {"STREAM_DATA_BLOCKED of one not open", false, OPEN, LEVEL_APP, QUIC_STREAM_STATE_ERROR, F("\x15\x01\x00"), 0},
    {"STOP_SENDING of a stream beyond the limit", false, OPEN, LEVEL_APP, QUIC_STREAM_LIMIT_ERROR, F("\x05\x44\x00\x00"), 0},
    {"MAX_STREAM_DATA for a stream beyond the limit", false, OPEN, LEVEL_APP, QUIC_STREAM_LIMIT_ERROR, F("\x11\x44\x00\x44\x00"), 0},
    {"final size that shrinks", false, OPEN, LEVEL_APP, QUIC_FINAL_SIZE_ERROR, F("\x0e\x04\x40\x64\x01x\x0f\x04\x05\x01x"), 0},
    {"two final sizes", false, OPEN, LEVEL_APP, QUIC_FINAL_SIZE_ERROR, F("\x0f\x04\x05\x01x\x0f\x04\x06\x01x"), 0},
    {"data past the end", false, OPEN, LEVEL_APP, QUIC_FINAL_SIZE_ERROR, F("\x0f\x04\x05\x01x\x0e\x04\x06\x01x"), 0},
    {"RESET_STREAM with another final size", false, OPEN, LEVEL_APP, QUIC_FINAL_SIZE_ERROR, F("\x0f\x04\x05\x01x\x04\x04\x00\x07"), 0},
    {"RESET_STREAM beyond the window", false, OPEN, LEVEL_APP, QUIC_FLOW_CONTROL_ERROR, F("\x04\x04\x00\x80\x04\x00\x01"), 0},
    {"RESET_STREAM of our own unidirectional stream", false, OPEN, LEVEL_APP, QUIC_STREAM_STATE_ERROR, F("\x04\x03\x00\x00"), 0},
    {"STOP_SENDING of a stream that only receives", false, OPEN, LEVEL_APP, QUIC_STREAM_STATE_ERROR, F("\x05\x02\x00"), 0},
    {"STOP_SENDING of a stream not open", false, OPEN, LEVEL_APP, QUIC_STREAM_STATE_ERROR, F("\x05\x01\x00"), 0},
    {"MAX_STREAM_DATA for one that only receives", false, OPEN, LEVEL_APP, QUIC_STREAM_STATE_ERROR, F("\x11\x02\x44\x00"), 0},
    {"MAX_STREAM_DATA for one not open", false, OPEN, LEVEL_APP, QUIC_STREAM_STATE_ERROR, F("\x11\x01\x44\x00"), 0},
    {"STREAM_DATA_BLOCKED of our own", false, OPEN, LEVEL_APP, QUIC_STREAM_STATE_ERROR, F("\x15\x03\x00"), 0},
    {"MAX_DATA that shrinks", false, OPEN, LEVEL_APP, SHRUG, F("\x10\x00"), 0},
    {"MAX_STREAMS that shrinks", false, OPEN, LEVEL_APP, SHRUG, F("\x12\x00"), 0},
    {"blocked", false, OPEN, LEVEL_APP, SHRUG, F("\x14\x00\x16\x00\x17\x00"), 0},

    /* connection IDs (5.1, 19.15, 19.16) */
    {"NEW_CONNECTION_ID of length 0", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x18\x09\x00\x00" TOKEN), 0},
    {"NEW_CONNECTION_ID of length 21", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x18\x09\x00\x15" "123456789012345678901" TOKEN), 0},
    {"Retire Prior To above the number", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x18\x09\x0a" CID8 TOKEN), 0},
    {"one number for two IDs", false, OPEN, LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x18\x01\x00" CID8 TOKEN), 0},
    {"one ID for two numbers", false, OPEN, LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x18\x09\x01" CID8 TOKEN "\x18\x0a\x02" CID8 TOKEN), 0},
    {"one number with two tokens", false, OPEN, LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x18\x09\x01" CID8 TOKEN "\x18\x09\x01" CID8 "0123456789abcdeX"), 0},
    {"NEW_CONNECTION_ID cut off", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x18\x09\x00" CID8 "0123"), 0},
    {"more IDs than allowed", false, OPEN, LEVEL_APP, QUIC_CONNECTION_ID_LIMIT_ERROR, F("\x18\x09\x00" CID8 TOKEN), 0},
    {"RETIRE_CONNECTION_ID of one not issued", false, OPEN, LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x19\x40\x64"), 0},
    {"RETIRE_CONNECTION_ID of the one in use", false, OPEN, LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x19\x00"), 0},
    {"RETIRE_CONNECTION_ID", false, OPEN, LEVEL_APP, SHRUG, F("\x19\x01"), 0},

    /* paths */
    {"PATH_RESPONSE out of the blue", false, OPEN, LEVEL_APP, SHRUG, F("\x1b" "abcdefgh"), 0},
    {"many PATH_CHALLENGEs", false, OPEN, LEVEL_APP, SHRUG, F("\x1a" "abcdefg1" "\x1a" "abcdefg2" "\x1a" "abcdefg3" "\x1a" "abcdefg4" "\x1a" "abcdefg5" "\x1a" "abcdefg6"), 0},

    /* ACK frequency (draft-ietf-quic-ack-frequency 4, 5) */
    {"ACK_FREQUENCY", false, OPEN, LEVEL_APP, SHRUG, F("\x40\xaf\x05\x08\x43\xe8\x03"), 0},
    {"ACK_FREQUENCY of nothing but large numbers", false, OPEN, LEVEL_APP, SHRUG, F("\x40\xaf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x80\xf9\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), 0},
    {"a delay below min_ack_delay", false, OPEN, LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x40\xaf\x05\x08\x43\xe7\x03"), 0},
    {"a delay of 2^14 ms", false, OPEN, LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x40\xaf\x05\x08\x80\xfa\x00\x00\x03"), 0},
    {"a delay of 2^14 ms from the server", true, OPEN, LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x40\xaf\x05\x08\x80\xfa\x00\x00\x03"), 0},
    {"an obsolete frame with such a delay", false, OPEN, LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x40\xaf\x05\x08\x43\xe8\x03\x40\xaf\x04\x08\x00\x03"), 0},
    {"truncated ACK_FREQUENCY", false, OPEN, LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x40\xaf\x05\x08\x43\xe8"), 0},
    {"ACK_FREQUENCY in Initial", false, HANDSHAKE, LEVEL_INITIAL, QUIC_PROTOCOL_VIOLATION, F("\x40\xaf\x05\x08\x43\xe8\x03"), 0},
    {"IMMEDIATE_ACK in Initial", false, HANDSHAKE, LEVEL_INITIAL, QUIC_PROTOCOL_VIOLATION, F("\x1f"), 0},
    {"IMMEDIATE_ACK", false, OPEN, LEVEL_APP, SHRUG, F("\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1f"), 0},

    /* CRYPTO (7.5, RFC 9001 4.1.3, 6) */
    {"CRYPTO far ahead", false, HANDSHAKE, LEVEL_INITIAL, QUIC_CRYPTO_BUFFER_EXCEEDED, F("\x06\x80\x02\x00\x00\x01x"), 0},
    {"CRYPTO far ahead in 1-RTT", false, OPEN, LEVEL_APP, QUIC_CRYPTO_BUFFER_EXCEEDED, F("\x06\x80\x02\x00\x00\x01x"), 0},
    {"CRYPTO far ahead in Handshake", false, KEYS, LEVEL_HANDSHAKE, QUIC_CRYPTO_BUFFER_EXCEEDED, F("\x06\x80\x02\x00\x00\x01x"), 0},
    {"CRYPTO less far ahead in 1-RTT", false, OPEN, LEVEL_APP, QUIC_CRYPTO_BUFFER_EXCEEDED, F("\x06\x80\x00\x40\x00\x01x"), 0},
    {"TLS messages no one sends after the handshake", false, OPEN, LEVEL_APP, 0x10a, F("\x06\x00\x08\x01\x00\x00\x04" "abcd"), 0},
    {"TLS CertificateRequest after the handshake", true, OPEN, LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x06\x00\x07\x0d\x00\x00\x03\x00\x00\x00"), 0},
    {"TLS ticket with an amount of 0-RTT data", true, OPEN, LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x06\x00\x1b\x04\x00\x00\x17\x00\x00\x0e\x10\x00\x00\x00\x01\x01\x00\x00\x01T\x00\x08\x00\x2a\x00\x04\x00\x00\x00\x01"), 0},
    {"TLS ticket", true, OPEN, LEVEL_APP, SHRUG, F("\x06\x00\x1b\x04\x00\x00\x17\x00\x00\x0e\x10\x00\x00\x00\x01\x01\x00\x00\x01T\x00\x08\x00\x2a\x00\x04\xff\xff\xff\xff"), 0},
    {"TLS CertificateRequest behind a ticket", true, OPEN, LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x06\x00\x1b\x04\x00\x00\x17\x00\x00\x0e\x10\x00\x00\x00\x01\x01\x00\x00\x01T\x00\x08\x00\x2a\x00\x04\xff\xff\xff\xff\x06\x1b\x02\x0d\x00\x06\x1d\x05\x00\x03\x00\x00\x00"), 0},
    {"TLS KeyUpdate", false, OPEN, LEVEL_APP, 0x10a, F("\x06\x00\x05\x18\x00\x00\x01\x00"), 0},
    {"TLS KeyUpdate from the server", true, OPEN, LEVEL_APP, 0x10a, F("\x06\x00\x05\x18\x00\x00\x01\x00"), 0},
};
// clang-format on

static bool server_has_conn(void *ctx)
{
    struct world *w = ctx;
    return w->server->n_conns == 1;
}

static bool client_has_keys(void *ctx)
{
    struct world *w = ctx;
    return aead_ready(&w->client->conn[0]->keys.tx[LEVEL_HANDSHAKE]);
}

/* A world in the stage that the case wants. */
static void stage(struct world *w, enum stage stage, uint64_t dgram)
{
    world_init(w, 1);
    w->server_cfg.conn.max_datagram_frame_size = dgram;
    world_path(w, NS_PER_MS, 0, 0);
    world_start(w, 1);
    if (stage == OPEN)
        sim_run(&w->sim, w->sim.now + NS_PER_S, NULL, NULL);
    else
        assert_true(sim_run(&w->sim, w->sim.now + NS_PER_S,
                            stage == KEYS ? client_has_keys : server_has_conn, w));
}

static void run_case(const struct evil_case *ec)
{
    struct world w;
    stage(&w, ec->stage, 65535);
    struct quic_conn *client = w.client->conn[0], *server = w.server->conn[0];
    struct quic_conn *as = ec->from_server ? server : client;
    struct quic_conn *victim = ec->from_server ? client : server;
    struct evil e = {.level = ec->level, .bits = ec->bits};
    e.pad = ec->level == LEVEL_INITIAL;
    int r = evil_send(as, victim, &e, span_of(ec->frames, ec->n), w.sim.now);
    struct quic_close_info info;
    quic_close_info(victim, &info);
    int want = ec->code == SHRUG ? 0 : ec->code;
    bool alive = conn_alive(victim);
    if (r != want || alive != (ec->code == SHRUG) || (int)info.code != want) {
        print_error("%s: returned 0x%x, code 0x%x, %s\n", ec->name, (unsigned)r,
                    (unsigned)info.code, info.text);
        fail();
    }
    /* The rest of the world learns of it, and nothing breaks. */
    sim_host_wake(w.client);
    sim_host_wake(w.server);
    sim_run(&w.sim, w.sim.now + 2 * NS_PER_S, NULL, NULL);
    assert_false(w.sim.livelock);
    if (!alive) {
        quic_close_info(as, &info);
        if (!w.xfer.end[ec->from_server].closed || info.kind != QUIC_CLOSE_PEER)
            print_error("%s: the other side was not told: %s\n", ec->name, info.text);
        assert_true(w.xfer.end[ec->from_server ? 0 : 1].closed);
        assert_true(w.xfer.end[ec->from_server ? 1 : 0].closed);
        quic_close_info(as, &info);
        assert_int_equal(info.kind, QUIC_CLOSE_PEER);
        assert_int_equal(info.code, want);
    }
    world_free(&w);
}

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        run_case(&cases[i]);
}

/* What a peer asks of our acknowledgements: only the newest counts, and only if we offered. */
static void test_ack_frequency(void **state)
{
    static const struct {
        struct span frame;
        uint32_t tolerance;
    } steps[] = {
        {SPAN_LIT("\x40\xaf\x05\x08\x43\xe8\x03"), 9},
        {SPAN_LIT("\x40\xaf\x05\x20\x43\xe8\x03"), 9}, /* the same number */
        {SPAN_LIT("\x40\xaf\x04\x20\x43\xe8\x03"), 9}, /* an older one */
        {SPAN_LIT("\x40\xaf\x06\x00\x43\xe8\x03"), 1},
        {SPAN_LIT("\x40\xaf\x07\x20\x43\xe8\x03\x40\xaf\x08\x30\x43\xe8\x03"), 49},
        {SPAN_LIT("\x40\xaf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
                  "\x43\xe8\x00"),
         UINT32_MAX},
        {SPAN_LIT("\x40\xaf\x09\x20\x43\xe8\x03"), UINT32_MAX},
    };
    struct evil e = {.level = LEVEL_APP};
    struct world w;

    (void)state;
    stage(&w, OPEN, 65535);
    struct quic_conn *client = w.client->conn[0], *server = w.server->conn[0];
    const struct ackrx *rx = &server->path[0].ack[SPACE_APP];
    assert_int_equal(rx->tolerance, ACKRX_TOLERANCE);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        assert_int_equal(evil_send(client, server, &e, steps[i].frame, w.sim.now), 0);
        assert_int_equal(rx->tolerance, steps[i].tolerance);
        assert_int_equal(rx->max_delay, NS_PER_MS);
    }
    world_free(&w);

    for (int i = 0; i < 2; i++) {
        world_init(&w, 1);
        w.server_cfg.conn.ack_frequency = false;
        world_path(&w, NS_PER_MS, 0, 0);
        world_start(&w, 1);
        sim_run(&w.sim, w.sim.now + NS_PER_S, NULL, NULL);
        assert_int_equal(w.client->conn[0]->peer.min_ack_delay_us, TPARAM_NO_ACK_FREQUENCY);
        assert_int_equal(evil_send(w.client->conn[0], w.server->conn[0], &e,
                                   i ? SPAN_LIT("\x1f") : steps[0].frame, w.sim.now),
                         QUIC_FRAME_ENCODING_ERROR);
        world_free(&w);
    }
}

/* Frames of the table in any order, with bytes changed: nothing worse than an end may follow. */
static void random_frames(uint64_t seed)
{
    struct world w;
    stage(&w, OPEN, 65535);
    w.seed = seed;
    sim_rng_seed(&w.sim.rng, seed);
    bool from_server = sim_rng_chance(&w.sim.rng, 500000);
    struct quic_conn *conn[2] = {w.client->conn[0], w.server->conn[0]};
    struct evil e = {.level = LEVEL_APP};
    uint8_t frames[400];
    for (int i = 0; i < 200 && conn_alive(conn[!from_server]); i++) {
        size_t n = 0;
        for (uint64_t k = sim_rng_below(&w.sim.rng, 4) + 1; k; k--) {
            const struct evil_case *ec = &cases[sim_rng_below(&w.sim.rng, ARRAY_LEN(cases))];
            memcpy(frames + n, ec->frames, ec->n);
            n += ec->n;
        }
        for (uint64_t k = sim_rng_below(&w.sim.rng, 4); k && n; k--)
            frames[sim_rng_below(&w.sim.rng, n)] = (uint8_t)sim_rng_next(&w.sim.rng);
        evil_send(conn[from_server], conn[!from_server], &e, span_of(frames, n), w.sim.now);
        if (i % 10 == 9) {
            sim_host_wake(w.client);
            sim_host_wake(w.server);
            sim_run(&w.sim, w.sim.now + 50 * NS_PER_MS, NULL, NULL);
        }
    }
    sim_host_wake(w.client);
    sim_host_wake(w.server);
    sim_run(&w.sim, w.sim.now + 3 * NS_PER_S, NULL, NULL);
    WORLD_CHECK(&w, !w.sim.livelock);
    for (int i = 0; i < 2; i++) {
        struct quic_stats stats;
        quic_stats(conn[i], &stats);
        WORLD_CHECK(&w, stats.memory_bytes < 4 << 20);
        WORLD_CHECK(&w, streams_check(&conn[i]->streams));
        WORLD_CHECK(&w, recovery_check(&conn[i]->path[0].recovery));
    }
    world_free(&w);
}

static void test_random(void **state)
{
    (void)state;
    world_each_seed(100, random_frames);
}

/* DATAGRAM where none was allowed, and one longer than allowed (RFC 9221 3). */
static void test_datagram_limit(void **state)
{
    (void)state;
    static const struct {
        uint64_t limit;
        const char *frames;
        size_t n;
        int code;
    } rows[] = {
        {0, F("\x30x"), QUIC_PROTOCOL_VIOLATION},
        {0, F("\x31\x00"), QUIC_PROTOCOL_VIOLATION},
        {4, F("\x31\x02xy"), 0},
        {4, F("\x31\x03xyz"), QUIC_PROTOCOL_VIOLATION},
        {4, F("\x30xyz"), 0},
        {4, F("\x30xyzw"), QUIC_PROTOCOL_VIOLATION},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct world w;
        stage(&w, OPEN, rows[i].limit);
        struct evil e = {.level = LEVEL_APP};
        int r = evil_send(w.client->conn[0], w.server->conn[0], &e,
                          span_of(rows[i].frames, rows[i].n), w.sim.now);
        assert_int_equal(r, rows[i].code);
        struct quic_dgram_rx d;
        assert_int_equal(quic_dgram_recv(w.server->conn[0], &d, 1), r == 0);
        world_free(&w);
    }
}

/* Each challenge of the newest few is answered once, however many come (RFC 9000 8.2.2). */
static void test_challenge_flood(void **state)
{
    (void)state;
    struct world w;
    stage(&w, OPEN, 65535);
    struct quic_conn *server = w.server->conn[0];
    uint8_t frame[9] = {FRAME_PATH_CHALLENGE};
    struct evil e = {.level = LEVEL_APP};
    for (int i = 0; i < 1000; i++) {
        frame[1] = (uint8_t)i;
        frame[2] = (uint8_t)(i >> 8);
        assert_int_equal(evil_send(w.client->conn[0], server, &e, span_of(frame, 9), w.sim.now),
                         0);
    }
    assert_true(path_current(&server->path[0])->n_responses <= PATH_RESPONSES);
    struct quic_stats stats;
    quic_stats(server, &stats);
    assert_int_equal(stats.path_responses_dropped, 1000 - PATH_RESPONSES);
    world_free(&w);
}

/* The QUIC bit may be anything once we have said so (RFC 9287 3). */
static void test_grease(void **state)
{
    (void)state;
    struct world w;
    stage(&w, OPEN, 65535);
    struct quic_conn *client = w.client->conn[0], *server = w.server->conn[0];
    struct evil e = {.level = LEVEL_APP, .clear = 0x40};
    uint8_t buf[100];
    struct quic_rx rx = {.route = path_current(&server->path[0])->route, .p = buf};
    rx.n = evil_packet(client, &e, SPAN_LIT("\x31\x03xyz"), buf, sizeof(buf));
    struct quic_conn *conn;
    struct quic_train answer = {.buf = buf, .cap = sizeof(buf), .max_count = 1};
    assert_int_equal(quic_endpoint_route(w.server->ep, &rx, w.sim.now, &conn, &answer),
                     QUIC_ROUTE_CONN);
    assert_ptr_equal(conn, server);
    assert_int_equal(quic_recv(server, &rx, 1, w.sim.now), 0);
    struct quic_dgram_rx d;
    assert_int_equal(quic_dgram_recv(server, &d, 1), 1);
    world_free(&w);
}

/* A packet that comes again does nothing a second time. */
static void test_replay(void **state)
{
    (void)state;
    struct world w;
    stage(&w, OPEN, 65535);
    struct quic_conn *server = w.server->conn[0];
    struct evil e = {.level = LEVEL_APP};
    uint8_t buf[100], copy[100];
    size_t n = evil_packet(w.client->conn[0], &e, SPAN_LIT("\x31\x03xyz"), buf, sizeof(buf));
    for (int i = 0; i < 5; i++) {
        memcpy(copy, buf, n);
        struct quic_rx rx = {path_current(&server->path[0])->route, 0, copy, n};
        assert_int_equal(quic_recv(server, &rx, 1, w.sim.now), 0);
        struct quic_dgram_rx d;
        assert_int_equal(quic_dgram_recv(server, &d, 1), i == 0);
    }
    world_free(&w);
}

/* NEW_CONNECTION_ID with Retire Prior To, again and again, and no acknowledgement. */
static void test_retire_flood(void **state)
{
    (void)state;
    struct world w;
    stage(&w, OPEN, 65535);
    struct quic_conn *server = w.server->conn[0];
    struct evil e = {.level = LEVEL_APP};
    int r = 0, sent = 0;
    for (uint8_t seq = 4; r == 0 && seq < 60; seq++, sent++) {
        uint8_t frame[64] = {FRAME_NEW_CONNECTION_ID, seq, seq, 8, 1, 2, 3, 4, 5, 6, 7, seq};
        frame[12] = seq;
        r = evil_send(w.client->conn[0], server, &e, span_of(frame, 28), w.sim.now);
    }
    assert_int_equal(r, QUIC_CONNECTION_ID_LIMIT_ERROR);
    assert_true(sent <= CID_RETIRE_MAX + 1);
    world_free(&w);
}

/* The peer updates its keys twice without waiting for our answer (RFC 9001 6.2). */
static void test_two_updates(void **state)
{
    (void)state;
    struct world w;
    stage(&w, OPEN, 65535);
    struct quic_conn *client = w.client->conn[0], *server = w.server->conn[0];
    struct aead first, second;
    assert_int_equal(aead_next(&first, &client->keys.tx[LEVEL_APP]), 0);
    assert_int_equal(aead_next(&second, &first), 0);
    struct evil e = {.level = LEVEL_APP, .flip_phase = true, .key = &first};
    assert_int_equal(evil_send(client, server, &e, SPAN_LIT("\x01"), w.sim.now), 0);
    e.flip_phase = false;
    e.key = &second;
    assert_int_equal(evil_send(client, server, &e, SPAN_LIT("\x01"), w.sim.now),
                     QUIC_KEY_UPDATE_ERROR);
    aead_free(&first);
    aead_free(&second);
    world_free(&w);
}

/* One-byte frames with gaps: bounded memory; what is too much is as good as lost (21.6). */
static void test_gaps(void **state)
{
    (void)state;
    struct world w;
    stage(&w, OPEN, 65535);
    struct quic_conn *server = w.server->conn[0];
    struct ackrx *ack = &server->path[0].ack[SPACE_APP];
    struct evil e = {.level = LEVEL_APP};
    unsigned taken = 0;
    for (unsigned i = 1; i < 5000; i++) {
        uint8_t frame[8] = {0x0e, 0x04, (uint8_t)(0x40 | (2 * i) >> 8), (uint8_t)(2 * i),
                            1,    'x'};
        uint64_t largest = ack->largest;
        assert_int_equal(evil_send(w.client->conn[0], server, &e, span_of(frame, 6), w.sim.now),
                         0);
        taken += ack->largest != largest;
    }
    assert_int_equal(taken, RBUF_GAPS + 1);
    struct quic_stats stats;
    quic_stats(server, &stats);
    assert_true(stats.memory_bytes < 1 << 20);
    world_free(&w);
}

/* A closed connection answers at ever longer intervals, and not at all once it drains. */
static void test_close_rate(void **state)
{
    (void)state;
    struct world w;
    stage(&w, OPEN, 65535);
    struct quic_conn *client = w.client->conn[0], *server = w.server->conn[0];
    uint8_t buf[1500];
    struct quic_train train = {.buf = buf, .cap = sizeof(buf), .max_count = 1};
    struct evil e = {.level = LEVEL_APP};
    quic_close(server, 5, "gone", w.sim.now);
    assert_true(quic_send(server, 0, &train, w.sim.now) > 0);
    int answers = 0;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(evil_send(client, server, &e, SPAN_LIT("\x01"), w.sim.now),
                         QUIC_CLOSED);
        quic_train_reset(&train);
        answers += quic_send(server, 0, &train, w.sim.now) > 0;
        assert_int_equal(quic_send(server, 0, &train, w.sim.now), QUIC_CLOSED);
    }
    assert_int_equal(answers, 10);
    /* The peer closes too: silence. */
    evil_send(client, server, &e, SPAN_LIT("\x1d\x00\x00"), w.sim.now);
    for (int i = 0; i < 3000; i++) {
        evil_send(client, server, &e, SPAN_LIT("\x01"), w.sim.now);
        quic_train_reset(&train);
        assert_int_equal(quic_send(server, 0, &train, w.sim.now), QUIC_CLOSED);
    }
    struct quic_close_info info;
    quic_close_info(server, &info);
    assert_int_equal(info.kind, QUIC_CLOSE_LOCAL);
    assert_int_equal(info.code, 5);
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),          cmocka_unit_test(test_ack_frequency),
        cmocka_unit_test(test_datagram_limit), cmocka_unit_test(test_challenge_flood),
        cmocka_unit_test(test_replay),         cmocka_unit_test(test_retire_flood),
        cmocka_unit_test(test_two_updates),    cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_close_rate),     cmocka_unit_test(test_grease),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
