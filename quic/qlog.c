#include "quic/qlog.h"

#include <string.h>

#define RS 0x1e

/* ---- records ------------------------------------------------------------------------- */

static void record_open(struct qlog *q)
{
    q->buf[0] = RS;
    q->j = json_of(q->buf + 1, QLOG_RECORD);
    json_open(&q->j, NULL, '{');
}

static void record_close(struct qlog *q, ns_t now)
{
    json_close(&q->j, '}');
    if (q->j.failed)
        return;
    q->buf[1 + q->j.n] = '\n';
    q->sink->write(q->trace, q->buf, q->j.n + 2, now);
}

static void header(struct qlog *q, const struct quic_cid *odcid, bool server)
{
    struct json *j = &q->j;
    record_open(q);
    json_text(j, "qlog_version", "0.3");
    json_text(j, "qlog_format", "JSON-SEQ");
    json_text(j, "title", "mqvpn");
    json_open(j, "trace", '{');
    json_open(j, "vantage_point", '{');
    json_text(j, "name", "mqvpn");
    json_text(j, "type", server ? "server" : "client");
    json_close(j, '}');
    json_open(j, "common_fields", '{');
    json_hex(j, "ODCID", cid_span(odcid));
    json_hex(j, "group_id", cid_span(odcid));
    json_open(j, "protocol_type", '[');
    json_text(j, NULL, "QUIC");
    json_text(j, NULL, "HTTP3");
    json_close(j, ']');
    json_text(j, "time_format", "relative");
    json_ms(j, "reference_time", ns_add(q->start, q->sink->epoch_ms * NS_PER_MS));
    json_close(j, '}');
    json_close(j, '}');
    record_close(q, q->start);
}

int qlog_init(struct qlog *q, const struct qlog_sink *sink, const struct quic_cid *odcid,
              bool server, ns_t now)
{
    q->sink = sink;
    q->start = q->last = now;
    q->trace = sink->open(sink->ctx, odcid, server, now);
    if (!q->trace)
        return QUIC_DROP;
    header(q, odcid, server);
    return 0;
}

void qlog_free(struct qlog *q)
{
    q->sink->close(q->trace);
}

struct json *qlog_begin(struct qlog *q, const char *name, uint32_t path, ns_t now)
{
    q->last = ns_max(q->last, now);
    record_open(q);
    json_ms(&q->j, "time", q->last - q->start);
    json_text(&q->j, "name", name);
    if (path)
        json_number(&q->j, "path", path);
    json_open(&q->j, "data", '{');
    return &q->j;
}

void qlog_end(struct qlog *q, ns_t now)
{
    json_close(&q->j, '}');
    record_close(q, now);
}

/* ---- packets ------------------------------------------------------------------------- */

static const char *type_name(enum packet_type type)
{
    static const char *const names[] = {
        [PACKET_INITIAL] = "initial",
        [PACKET_0RTT] = "0RTT",
        [PACKET_HANDSHAKE] = "handshake",
        [PACKET_RETRY] = "retry",
        [PACKET_VERSION_NEGOTIATION] = "version_negotiation",
        [PACKET_1RTT] = "1RTT",
    };
    return type < ARRAY_LEN(names) ? names[type] : "unknown";
}

static void packet_header(struct json *j, const struct qlog_packet *p)
{
    json_open(j, "header", '{');
    json_text(j, "packet_type", type_name(p->type));
    if (p->pn != QUIC_PN_NONE)
        json_number(j, "packet_number", p->pn);
    if (p->type == PACKET_1RTT && p->pn != QUIC_PN_NONE)
        json_number(j, "key_phase_bit", p->key_phase);
    if (p->scid.p && p->type != PACKET_1RTT) {
        json_number(j, "scil", p->scid.n);
        json_hex(j, "scid", p->scid);
    }
    if (p->dcid.p) {
        json_number(j, "dcil", p->dcid.n);
        json_hex(j, "dcid", p->dcid);
    }
    if (p->token_n) {
        json_open(j, "token", '{');
        if (p->type == PACKET_RETRY)
            json_text(j, "type", "retry");
        json_open(j, "raw", '{');
        json_number(j, "length", p->token_n);
        json_close(j, '}');
        json_close(j, '}');
    }
    json_close(j, '}');
}

static void packet_raw(struct json *j, const struct qlog_packet *p)
{
    json_open(j, "raw", '{');
    json_number(j, "length", p->bytes);
    if (p->frames.n)
        json_number(j, "payload_length", p->frames.n + p->dgram_rest + QUIC_TAG);
    json_close(j, '}');
}

static void packet(struct qlog *q, const char *name, const struct qlog_packet *p, ns_t now)
{
    struct json *j = qlog_begin(q, name, p->path, now);
    packet_header(j, p);
    packet_raw(j, p);
    if (p->frames.n)
        qlog_frames(j, "frames", p);
    if (p->mtu_probe)
        json_bool(j, "is_mtu_probe_packet", true);
    if (p->buffered)
        json_text(j, "trigger", "keys_available");
    qlog_end(q, now);
}

void qlog_packet_sent(struct qlog *q, const struct qlog_packet *p, ns_t now)
{
    packet(q, "transport:packet_sent", p, now);
}

void qlog_packet_received(struct qlog *q, const struct qlog_packet *p, ns_t now)
{
    packet(q, "transport:packet_received", p, now);
}

void qlog_packet_event(struct qlog *q, const char *name, const char *trigger,
                       const struct qlog_packet *p, ns_t now)
{
    struct json *j = qlog_begin(q, name, p->path, now);
    packet_header(j, p);
    if (p->bytes)
        packet_raw(j, p);
    if (p->mtu_probe)
        json_bool(j, "is_mtu_probe_packet", true);
    if (trigger)
        json_text(j, "trigger", trigger);
    qlog_end(q, now);
}

/* ---- transport parameters ------------------------------------------------------------ */

static void numbers(struct json *j, const struct tparams *t)
{
    json_number(j, "max_idle_timeout", t->max_idle_timeout / NS_PER_MS);
    json_number(j, "max_udp_payload_size", t->max_udp_payload_size);
    json_number(j, "ack_delay_exponent", t->ack_delay_exponent);
    json_number(j, "max_ack_delay", t->max_ack_delay / NS_PER_MS);
    json_number(j, "active_connection_id_limit", t->active_connection_id_limit);
    json_number(j, "initial_max_data", t->initial_max_data);
    json_number(j, "initial_max_stream_data_bidi_local", t->initial_max_stream_data_bidi_local);
    json_number(j, "initial_max_stream_data_bidi_remote",
                t->initial_max_stream_data_bidi_remote);
    json_number(j, "initial_max_stream_data_uni", t->initial_max_stream_data_uni);
    json_number(j, "initial_max_streams_bidi", t->initial_max_streams_bidi);
    json_number(j, "initial_max_streams_uni", t->initial_max_streams_uni);
    json_number(j, "max_datagram_frame_size", t->max_datagram_frame_size);
}

void qlog_parameters(struct qlog *q, const struct tparams *t, bool local, const char *cipher,
                     ns_t now)
{
    struct json *j = qlog_begin(q, "transport:parameters_set", 0, now);
    json_text(j, "owner", local ? "local" : "remote");
    if (cipher)
        json_text(j, "tls_cipher", cipher);
    if (t->has_original_dcid)
        json_hex(j, "original_destination_connection_id", cid_span(&t->original_dcid));
    if (t->has_initial_scid)
        json_hex(j, "initial_source_connection_id", cid_span(&t->initial_scid));
    if (t->has_retry_scid)
        json_hex(j, "retry_source_connection_id", cid_span(&t->retry_scid));
    json_bool(j, "disable_active_migration", t->disable_active_migration);
    json_bool(j, "grease_quic_bit", t->grease_quic_bit);
    numbers(j, t);
    qlog_end(q, now);
}

void qlog_address(struct json *j, const struct quic_addr *a)
{
    char text[QUIC_ADDR_TEXT];
    if (a->family != 4 && a->family != 6)
        return;
    quic_addr_text(a, text);
    char *port = strrchr(text, ':');
    struct span ip = a->family == 4 ? span_of(text, (size_t)(port - text))
                                    : span_of(text + 1, (size_t)(port - text) - 2);
    json_bytes(j, a->family == 4 ? "ip_v4" : "ip_v6", ip);
    json_number(j, a->family == 4 ? "port_v4" : "port_v6", a->port);
}
