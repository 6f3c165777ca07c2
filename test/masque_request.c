/* uri and request: paths, scopes, fields of request and answer, credentials. */
#include "test/masque_util.h"

#include "masque/request.h"

static void paths_in(void **state)
{
    enum { A = MASQUE_TARGET_ANY, P = MASQUE_TARGET_PREFIX, H = MASQUE_TARGET_HOST };
    static const struct {
        const char *path;
        int status;
        int target;
        const char *text; /* prefix or host */
        int proto;
    } row[] = {
        /* clang-format off */
        {"/.well-known/masque/ip/*/*/", 0, A, "", 0},
        {"/.well-known/masque/ip/%2A/%2a/", 0, A, "", 0},
        {"/.well-known/masque/ip/*/*", 0, A, "", 0},
        {"/.well-known/masque/ip/*/", 0, A, "", 0},
        {"/.well-known/masque/ip/*", 0, A, "", 0},
        {"/.well-known/masque/ip/", 0, A, "", 0},
        {"/.well-known/masque/ip", 0, A, "", 0},
        {"/.well-known/masque/ip/*/*/?user=bob/x", 0, A, "", 0},
        {"/.well-known/masque/ip/*/17/", 0, A, "", 17},
        {"/.well-known/masque/ip/192.0.2.0%2F24/*/", 0, P, "192.0.2.0/24", 0},
        {"/.well-known/masque/ip/192.0.2.7/6/", 0, P, "192.0.2.7/32", 6},
        {"/.well-known/masque/ip/2001%3Adb8%3A%3A42/132/", 0, P, "2001:db8::42/128", 132},
        {"/.well-known/masque/ip/2001%3adb8%3a%3a%2f32/255/", 0, P, "2001:db8::/32", 255},
        {"/.well-known/masque/ip/2001:db8::%2F32/*/", 0, P, "2001:db8::/32", 0},
        {"/.well-known/masque/ip/target.example.com/132/", 0, H, "target.example.com", 132},
        {"/.well-known/masque/ip/%74arget-1_a.example./1/", 0, H, "target-1_a.example.", 1},
        /* another path */
        {"", 404, 0, "", 0},
        {"/", 404, 0, "", 0},
        {"/.well-known/masque/udp/*/*/", 404, 0, "", 0},
        {"/.well-known/masque/ipx/*/*/", 404, 0, "", 0},
        {"/.well-known/masque/i", 404, 0, "", 0},
        {"/.WELL-KNOWN/masque/ip/*/*/", 404, 0, "", 0},
        {"/.well-known/masque/ip/*/*/x", 404, 0, "", 0},
        {"/.well-known/masque/ip/*/*//", 404, 0, "", 0},
        /* bad variables */
        {"/.well-known/masque/ip//*/", 400, 0, "", 0},
        {"/.well-known/masque/ip/*//", 400, 0, "", 0},
        {"/.well-known/masque/ip/192.0.2.1%2F24/*/", 400, 0, "", 0},   /* host bits */
        {"/.well-known/masque/ip/192.0.2.0%2F33/*/", 400, 0, "", 0},
        {"/.well-known/masque/ip/192.0.2/*/", 400, 0, "", 0},
        {"/.well-known/masque/ip/fe80%3A%3A1%25eth0/*/", 400, 0, "", 0},
        {"/.well-known/masque/ip/%2/*/", 400, 0, "", 0},
        {"/.well-known/masque/ip/%/*/", 400, 0, "", 0},
        {"/.well-known/masque/ip/%GG/*/", 400, 0, "", 0},
        {"/.well-known/masque/ip/a%00b/*/", 400, 0, "", 0},
        {"/.well-known/masque/ip/a%20b/*/", 400, 0, "", 0},
        {"/.well-known/masque/ip/a..b/*/", 400, 0, "", 0},
        {"/.well-known/masque/ip/.a/*/", 400, 0, "", 0},
        {"/.well-known/masque/ip/a@b/*/", 400, 0, "", 0},
        {"/.well-known/masque/ip/**/*/", 400, 0, "", 0},
        {"/.well-known/masque/ip/*/256/", 400, 0, "", 0},
        {"/.well-known/masque/ip/*/0017/", 400, 0, "", 0},
        {"/.well-known/masque/ip/*/-1/", 400, 0, "", 0},
        {"/.well-known/masque/ip/*/tcp/", 400, 0, "", 0},
        {"/.well-known/masque/ip/*/0/", 400, 0, "", 0},                /* hop-by-hop options */
        {"/.well-known/masque/ip/*/44/", 400, 0, "", 0},               /* fragment header */
        /* clang-format on */
    };
    char text[MASQUE_HOST_MAX + 1], longest[400];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        struct masque_scope s;

        if (masque_uri_parse(text_span(row[i].path), &s) != row[i].status)
            fail_msg("%s", row[i].path);
        if (row[i].status)
            continue;
        assert_int_equal(s.target, row[i].target);
        assert_int_equal(s.proto, row[i].proto);
        if (s.target == MASQUE_TARGET_PREFIX)
            assert_string_equal(ip_prefix_format(&s.prefix, text, sizeof(text)), row[i].text);
        if (s.target == MASQUE_TARGET_HOST)
            assert_string_equal(s.host, row[i].text);
    }
    /* a name of 253 characters passes, one of 254 and a label of 64 do not */
    for (size_t n = 253; n <= 254; n++) {
        struct masque_scope s;
        size_t k = (size_t)sprintf(longest, "%s", MASQUE_URI_PREFIX);

        for (size_t i = 0; i < n; i++)
            longest[k++] = i % 50 == 49 ? '.' : 'a';
        longest[k] = 0;
        assert_int_equal(masque_uri_parse(text_span(longest), &s), n == 253 ? 0 : 400);
        k = (size_t)sprintf(longest, "%s", MASQUE_URI_PREFIX);
        memset(longest + k, 'a', n - 190);
        longest[k + n - 190] = 0;
        assert_int_equal(masque_uri_parse(text_span(longest), &s), n == 253 ? 0 : 400);
    }
}

static void paths_out(void **state)
{
    static const struct {
        const char *target; /* "*", a prefix or a name */
        uint8_t proto;
        const char *path;
    } row[] = {
        /* clang-format off */
        {"*", 0, "/.well-known/masque/ip/*/*/"},
        {"*", 17, "/.well-known/masque/ip/*/17/"},
        {"10.0.0.0/8", 0, "/.well-known/masque/ip/10.0.0.0%2F8/*/"},
        {"10.0.0.7", 255, "/.well-known/masque/ip/10.0.0.7/255/"},
        {"2001:db8::42", 0, "/.well-known/masque/ip/2001%3Adb8%3A%3A42/*/"},
        {"2001:db8::/32", 0, "/.well-known/masque/ip/2001%3Adb8%3A%3A%2F32/*/"},
        {"example.com", 132, "/.well-known/masque/ip/example.com/132/"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 255,
         "/.well-known/masque/ip/ffff%3Affff%3Affff%3Affff%3Affff%3Affff%3Affff%3Affff/255/"},
        {"10.0.0.1/8", 0, NULL},
        {"bad name", 0, NULL},
        {"", 0, NULL},
        /* clang-format on */
    };
    char out[MASQUE_PATH_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        struct masque_scope s = {.proto = row[i].proto}, back;
        size_t n;

        if (strcmp(row[i].target, "*") == 0) {
            s.target = MASQUE_TARGET_ANY;
        } else if (ip_prefix_parse(text_span(row[i].target), &s.prefix) == 0) {
            s.target = MASQUE_TARGET_PREFIX;
        } else {
            s.target = MASQUE_TARGET_HOST;
            strcpy(s.host, row[i].target);
        }
        n = masque_uri_build(&s, out, sizeof(out));
        if (!row[i].path) {
            assert_int_equal(n, 0);
            continue;
        }
        assert_string_equal(out, row[i].path);
        assert_int_equal(n, strlen(out));
        assert_int_equal(masque_uri_parse(span_of(out, n), &back), 0);
        assert_int_equal(back.target, s.target);
        assert_int_equal(back.proto, s.proto);
        assert_int_equal(masque_uri_build(&s, out, n), 0); /* no room for the terminator */
    }
}

static void scopes(void **state)
{
    struct masque_scope s = {.target = MASQUE_TARGET_ANY, .proto = 6};
    struct ip_range r[2];

    (void)state;
    assert_int_equal(masque_scope_ranges(&s, true, true, r), 2);
    assert_true(ip_ranges_normal(r, 2) && r[0].proto == 6 && r[1].start.version == 6);
    assert_int_equal(masque_scope_ranges(&s, false, true, r), 1);
    assert_int_equal(r[0].start.version, 6);
    s = (struct masque_scope){.target = MASQUE_TARGET_PREFIX, .prefix = prefix("10.0.0.0/8")};
    assert_int_equal(masque_scope_ranges(&s, false, true, r), 0);
    assert_int_equal(masque_scope_ranges(&s, true, false, r), 1);
    assert_int_equal(ip_addr_v4_value(&r[0].end), 0x0affffff);
    s.target = MASQUE_TARGET_HOST;
    assert_int_equal(masque_scope_ranges(&s, true, true, r), 0);
}

/* "name=value; ..." of a head, with a '!' behind values that are never to be indexed. */
static const char *show(const struct masque_head *h)
{
    static char text[2048];
    size_t k = 0;

    text[0] = 0;
    for (size_t i = 0; i < h->n; i++)
        k += (size_t)snprintf(text + k, sizeof(text) - k, "%.*s=%.*s%s; ",
                              (int)h->field[i].name.n, h->field[i].name.p,
                              (int)h->field[i].value.n, h->field[i].value.p,
                              h->field[i].never_index ? "!" : "");
    return text;
}

static void request_out(void **state)
{
    static struct masque_head h;
    struct h3_field extra[20] = {H3_FIELD_LIT("mqvpn-lease", "abc")};
    struct masque_ask ask = {.authority = SPAN_LIT("vpn.example:443")};
    static char key[MASQUE_SECRET_MAX + 2];
    static const char *const bad_keys[] = {"a b", "a\nb", "\x80", "a\x7f"};

    (void)state;
    assert_int_equal(masque_request_build(&ask, &h), 0);
    assert_string_equal(show(&h),
                        ":method=CONNECT; :protocol=connect-ip; :scheme=https; "
                        ":authority=vpn.example:443; :path=/.well-known/masque/ip/*/*/; "
                        "capsule-protocol=?1; ");
    ask.bearer = (struct span)SPAN_LIT("s3cret+/=");
    ask.path = (struct span)SPAN_LIT("/vpn");
    ask.extra = extra;
    ask.nextra = 1;
    assert_int_equal(masque_request_build(&ask, &h), 0);
    assert_string_equal(show(&h), ":method=CONNECT; :protocol=connect-ip; :scheme=https; "
                                  ":authority=vpn.example:443; :path=/vpn; "
                                  "capsule-protocol=?1; authorization=Bearer s3cret+/=!; "
                                  "mqvpn-lease=abc; ");
    memset(key, 'k', sizeof(key));
    ask.bearer = span_of(key, MASQUE_SECRET_MAX);
    assert_int_equal(masque_request_build(&ask, &h), 0);
    assert_int_equal(h.field[6].value.n, MASQUE_SECRET_MAX + 7);
    ask.bearer.n++;
    assert_int_equal(masque_request_build(&ask, &h), QUIC_TOOBIG);
    for (size_t i = 0; i < ARRAY_LEN(bad_keys); i++) {
        ask.bearer = text_span(bad_keys[i]);
        assert_int_equal(masque_request_build(&ask, &h), QUIC_INVAL);
    }
    ask.bearer = (struct span)SPAN_LIT("k");
    ask.nextra = 17;
    for (size_t i = 0; i < 20; i++)
        extra[i] = extra[0];
    assert_int_equal(masque_request_build(&ask, &h), 0);
    ask.nextra = 18;
    assert_int_equal(masque_request_build(&ask, &h), QUIC_TOOBIG);
    ask.nextra = 0;
    ask.path = (struct span)SPAN_LIT("vpn");
    assert_int_equal(masque_request_build(&ask, &h), QUIC_INVAL);
    ask.path = (struct span)SPAN_LIT("/v pn");
    assert_int_equal(masque_request_build(&ask, &h), QUIC_INVAL);
    ask.path = (struct span)SPAN_LIT("/");
    ask.authority.n = 0;
    assert_int_equal(masque_request_build(&ask, &h), QUIC_INVAL);
}

/* Fields from "name=value" texts; an empty one ends the list. */
static size_t fields(const char *const *text, size_t max, struct h3_field *out)
{
    size_t n = 0;

    for (size_t i = 0; i < max && text[i]; i++, n++) {
        const char *eq = strchr(text[i] + 1, '=');

        out[n] = (struct h3_field){span_of(text[i], (size_t)(eq - text[i])), text_span(eq + 1),
                                   false};
    }
    return n;
}

#define M ":method=CONNECT"
#define I ":protocol=connect-ip"
#define S ":scheme=https"
#define A ":authority=h:443"
#define P ":path=/.well-known/masque/ip/*/*/"
#define C "capsule-protocol=?1"

static void request_in(void **state)
{
    static const struct {
        const char *f[10];
        int status, auth;
        const char *credential;
        bool proxy, capsules;
    } row[] = {
        /* clang-format off */
        {{M, I, S, A, P, C, "authorization=Bearer key"}, 0, MASQUE_AUTH_BEARER, "key", 0, 1},
        {{M, I, S, A, P, C, "authorization=bEARER   key  "}, 0, MASQUE_AUTH_BEARER, "key", 0, 1},
        {{M, I, S, A, P, C, "authorization=Basic dTpw"}, 0, MASQUE_AUTH_BASIC, "dTpw", 0, 1},
        {{M, I, S, A, P, C, "proxy-authorization=basic dTpw"}, 0, MASQUE_AUTH_BASIC, "dTpw", 1, 1},
        {{M, I, S, A, P, C, "proxy-authorization=Bearer a", "authorization=Bearer b"},
         0, MASQUE_AUTH_BEARER, "b", 0, 1},
        {{M, I, S, A, P, C, "authorization=Digest x=y"}, 0, MASQUE_AUTH_OTHER, "x=y", 0, 1},
        {{M, I, S, A, P, C, "authorization=Bearer"}, 0, MASQUE_AUTH_OTHER, "", 0, 1},
        {{M, I, S, A, P, C, "authorization=Bearer "}, 0, MASQUE_AUTH_OTHER, "", 0, 1},
        {{M, I, S, A, P, C, "authorization="}, 0, MASQUE_AUTH_OTHER, "", 0, 1},
        {{M, I, S, A, P, C, "authorization=Bearerkey"}, 0, MASQUE_AUTH_OTHER, "", 0, 1},
        {{M, I, S, A, P, C}, 0, MASQUE_AUTH_NONE, "", 0, 1},
        {{M, I, S, A, P}, 0, MASQUE_AUTH_NONE, "", 0, 0},
        {{M, I, S, A, P, C, C}, 0, MASQUE_AUTH_NONE, "", 0, 0},
        {{M, I, S, A, P, "capsule-protocol=?0"}, 0, MASQUE_AUTH_NONE, "", 0, 0},
        {{M, I, S, A, P, "capsule-protocol=1"}, 0, MASQUE_AUTH_NONE, "", 0, 0},
        {{M, I, S, A, P, "capsule-protocol=?1;a=b"}, 0, MASQUE_AUTH_NONE, "", 0, 1},
        {{M, I, S, A, P, "capsule-protocol=?10"}, 0, MASQUE_AUTH_NONE, "", 0, 0},
        {{M, I, S, A, ":path=/own/path", C}, 0, MASQUE_AUTH_NONE, "", 0, 1},
        {{M, I, S, A, P, C, "mqvpn-reorder=v1", "user-agent=x"}, 0, MASQUE_AUTH_NONE, "", 0, 1},
        {{M, I, S, A, ":path=/own/path/", C}, 404, 0, "", 0, 0},
        {{M, I, S, A, ":path=/", C}, 404, 0, "", 0, 0},
        {{M, I, S, A, ":path=/.well-known/masque/ip/*/999/", C}, 400, 0, "", 0, 0},
        {{M, I, S, A, C}, 400, 0, "", 0, 0},
        {{M, I, S, P, C}, 400, 0, "", 0, 0},
        {{M, I, ":scheme=http", A, P, C}, 400, 0, "", 0, 0},
        {{M, I, A, P, C}, 400, 0, "", 0, 0},
        {{M, M, I, S, A, P, C}, 400, 0, "", 0, 0},
        {{M, I, S, A, P, P, C}, 400, 0, "", 0, 0},
        {{M, I, S, A, P, C, "authorization=Bearer a", "authorization=Bearer b"},
         400, 0, "", 0, 0},
        {{M, I, S, A, P, C, "content-length=0"}, 400, 0, "", 0, 0},
        {{M, I, S, A, P, C, "content-type=text/plain"}, 400, 0, "", 0, 0},
        {{M, I, S, A, P, C, "transfer-encoding=chunked"}, 400, 0, "", 0, 0},
        {{":method=GET", S, A, P}, 405, 0, "", 0, 0},
        {{":method=GET", S, A, ":path=/own/path"}, 405, 0, "", 0, 0},
        {{":method=GET", S, A, ":path=/"}, 404, 0, "", 0, 0},
        {{S, A, P}, 405, 0, "", 0, 0},
        {{":method=connect", I, S, A, P}, 405, 0, "", 0, 0},
        {{M, A}, 501, 0, "", 0, 0},
        {{M, ":protocol=connect-udp", S, A, P, C}, 501, 0, "", 0, 0},
        {{M, ":protocol=mqvpn-tcp", S, A, ":path=/.well-known/mqvpn/tcp/10.0.0.1/80/"},
         501, 0, "", 0, 0},
        /* clang-format on */
    };
    struct h3_field f[10];
    struct masque_request q;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        size_t n = fields(row[i].f, 10, f);
        int status = masque_request_parse(f, n, (struct span)SPAN_LIT("/own/path"), &q);

        if (status != row[i].status)
            fail_msg("row %zu: %d", i, status);
        if (status)
            continue;
        if (q.auth != (enum masque_auth)row[i].auth || q.proxy_auth != row[i].proxy ||
            q.capsule_protocol != row[i].capsules ||
            !h3_span_is(q.credential, row[i].credential))
            fail_msg("row %zu", i);
        assert_true(h3_span_is(q.authority, "h:443"));
        assert_int_equal(q.scope.target, MASQUE_TARGET_ANY);
    }
    /* what our client sends, our server takes */
    static struct masque_head h;
    struct masque_ask ask = {.authority = SPAN_LIT("[::1]:8443"), .bearer = SPAN_LIT("k")};

    assert_int_equal(masque_request_build(&ask, &h), 0);
    assert_int_equal(masque_request_parse(h.field, h.n, span_of(NULL, 0), &q), 0);
    assert_int_equal(q.auth, MASQUE_AUTH_BEARER);
    assert_true(q.capsule_protocol && h3_span_is(q.credential, "k"));
}

static void basic(void **state)
{
    static const struct {
        const char *in;
        int err;
        const char *user, *password;
    } row[] = {
        /* clang-format off */
        {"QWxhZGRpbjpvcGVuIHNlc2FtZQ==", 0, "Aladdin", "open sesame"}, /* RFC 7617 2 */
        {"QWxhZGRpbjpvcGVuIHNlc2FtZQ", 0, "Aladdin", "open sesame"},
        {"dTpw", 0, "u", "p"},
        {"Og==", 0, "", ""},
        {"dTpwOnE=", 0, "u", "p:q"},
        {"dQ==", QUIC_INVAL, "", ""},        /* no colon */
        {"", QUIC_INVAL, "", ""},
        {"dTpwOnE==", QUIC_INVAL, "", ""},
        {"dTpw====", QUIC_INVAL, "", ""},
        {"dTp", 0, "u", ""},
        {"dT=w", QUIC_INVAL, "", ""},
        {"dTp-", QUIC_INVAL, "", ""},
        {"d", QUIC_INVAL, "", ""},
        /* clang-format on */
    };
    uint8_t buf[20];
    struct span user, password;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        int err = masque_basic_decode(text_span(row[i].in), buf, sizeof(buf), &user, &password);

        if (err != row[i].err)
            fail_msg("%s: %d", row[i].in, err);
        if (err == 0)
            assert_true(h3_span_is(user, row[i].user) && h3_span_is(password, row[i].password));
    }
    assert_int_equal(masque_basic_decode(text_span(row[0].in), buf, 18, &user, &password),
                     QUIC_TOOBIG);
}

static void response(void **state)
{
    static struct masque_head h;
    static const struct {
        int status;
        const char *head; /* null: not to be built */
        enum masque_reply reply;
    } row[] = {
        /* clang-format off */
        {200, ":status=200; capsule-protocol=?1; x=y; ", MASQUE_REPLY_OK},
        {202, ":status=202; capsule-protocol=?1; x=y; ", MASQUE_REPLY_OK},
        {302, ":status=302; x=y; ", MASQUE_REPLY_REDIRECT},
        {400, ":status=400; x=y; ", MASQUE_REPLY_BAD},
        {401, ":status=401; www-authenticate=Bearer; x=y; ", MASQUE_REPLY_AUTH},
        {403, ":status=403; x=y; ", MASQUE_REPLY_AUTH},
        {404, ":status=404; x=y; ", MASQUE_REPLY_NOT_FOUND},
        {405, ":status=405; allow=CONNECT; x=y; ", MASQUE_REPLY_UNSUPPORTED},
        {407, ":status=407; proxy-authenticate=Bearer; x=y; ", MASQUE_REPLY_AUTH},
        {410, ":status=410; x=y; ", MASQUE_REPLY_NOT_FOUND},
        {429, ":status=429; x=y; ", MASQUE_REPLY_FULL},
        {500, ":status=500; x=y; ", MASQUE_REPLY_FAILED},
        {501, ":status=501; x=y; ", MASQUE_REPLY_UNSUPPORTED},
        {503, ":status=503; x=y; ", MASQUE_REPLY_FULL},
        {100, NULL, 0}, {199, NULL, 0}, {204, NULL, 0}, {205, NULL, 0}, {206, NULL, 0},
        {600, NULL, 0}, {0, NULL, 0}, {-1, NULL, 0},
        /* clang-format on */
    };
    static const struct h3_field extra = H3_FIELD_LIT("x", "y");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        struct masque_response r;

        if (!row[i].head) {
            assert_int_equal(masque_response_build(row[i].status, &extra, 1, &h), QUIC_INVAL);
            continue;
        }
        assert_int_equal(masque_response_build(row[i].status, &extra, 1, &h), 0);
        assert_string_equal(show(&h), row[i].head);
        masque_response_parse(h.field, h.n, &r);
        assert_int_equal(r.reply, row[i].reply);
        assert_int_equal(r.status, row[i].status);
        assert_int_equal(r.capsule_protocol, row[i].status < 300);
        assert_true(strlen(masque_reply_text(r.reply)) > 5);
    }
}

static void response_in(void **state)
{
    static const struct {
        const char *f[6];
        enum masque_reply reply;
        int status;
        uint32_t retry;
    } row[] = {
        /* clang-format off */
        {{":status=200"}, MASQUE_REPLY_OK, 200, 0},
        {{":status=103", "link=x"}, MASQUE_REPLY_INTERIM, 103, 0},
        {{":status=101"}, MASQUE_REPLY_MALFORMED, 0, 0},
        {{":status=204", C}, MASQUE_REPLY_MALFORMED, 0, 0},
        {{":status=206"}, MASQUE_REPLY_MALFORMED, 0, 0},
        {{":status=200", C, "content-length=0"}, MASQUE_REPLY_MALFORMED, 0, 0},
        {{":status=200", C, "content-type=a/b"}, MASQUE_REPLY_MALFORMED, 0, 0},
        {{":status=403", "content-length=9"}, MASQUE_REPLY_AUTH, 403, 0},
        {{":status=503", "retry-after=120"}, MASQUE_REPLY_FULL, 503, 120},
        {{":status=503", "retry-after=Wed, 21 Oct 2026 07:28:00 GMT"}, MASQUE_REPLY_FULL, 503, 0},
        {{":status=503", "retry-after=99999999"}, MASQUE_REPLY_FULL, 503, 0},
        {{C}, MASQUE_REPLY_MALFORMED, 0, 0},
        {{":status="}, MASQUE_REPLY_MALFORMED, 0, 0},
        {{":status=20"}, MASQUE_REPLY_MALFORMED, 0, 0},
        {{":status=2000"}, MASQUE_REPLY_MALFORMED, 0, 0},
        {{":status=2x0"}, MASQUE_REPLY_MALFORMED, 0, 0},
        {{":status=600"}, MASQUE_REPLY_MALFORMED, 0, 0},
        {{":status=099"}, MASQUE_REPLY_MALFORMED, 0, 0},
        {{":status=200", ":status=200"}, MASQUE_REPLY_MALFORMED, 0, 0},
        /* clang-format on */
    };
    struct h3_field f[6];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        struct masque_response r;

        masque_response_parse(f, fields(row[i].f, 6, f), &r);
        if (r.reply != row[i].reply || r.status != row[i].status ||
            r.retry_after_s != row[i].retry)
            fail_msg("row %zu: %s %d", i, masque_reply_text(r.reply), r.status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_in),    cmocka_unit_test(paths_out),   cmocka_unit_test(scopes),
        cmocka_unit_test(request_out), cmocka_unit_test(request_in),  cmocka_unit_test(basic),
        cmocka_unit_test(response),    cmocka_unit_test(response_in),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
