/* msg and fields.h: which header and trailer sections are well-formed. */
#include "test/h3_util.h"

#include "h3/msg.h"

#define MAX_FIELDS 12

/* Fields of "name=value|name=value"; the value goes from the first '=' behind the name. */
static size_t parse(char *text, struct h3_field *f)
{
    size_t n = 0;

    while (text && *text) {
        char *next = strchr(text, '|'), *eq;

        if (next)
            *next++ = 0;
        eq = strchr(text, '=');
        assert_true(eq && n < MAX_FIELDS);
        *eq = 0;
        f[n++] = h3_field_str(text, eq + 1);
        text = next;
    }
    return n;
}

#define GET     ":method=GET|:scheme=https|:authority=a.example|:path=/"
#define CONNECT ":method=CONNECT|:authority=a.example:443"
#define EXT     ":method=CONNECT|:protocol=connect-ip|:scheme=https|:authority=a.example|:path=/x"

static const struct row {
    enum h3_msg_kind kind;
    bool extended_ok;
    bool good;
    const char *fields;
} rows[] = {
    /* requests */
    {H3_MSG_REQUEST, false, true, GET},
    {H3_MSG_REQUEST, false, true, GET "|accept=*/*|x-y_z.~1=a b\tc"},
    {H3_MSG_REQUEST, false, true, ":path=/|:authority=a|:scheme=HTTPS|:method=PUT"},
    {H3_MSG_REQUEST, false, true, ":method=GET|:scheme=https|:path=/|host=a.example"},
    {H3_MSG_REQUEST, false, true, GET "|host=a.example"},
    {H3_MSG_REQUEST, false, true, GET "|host=A.Example"},
    {H3_MSG_REQUEST, false, true, ":method=OPTIONS|:scheme=https|:authority=a|:path=*"},
    {H3_MSG_REQUEST, false, true, ":method=GET|:scheme=urn+x.y-1|:path=a:b"},
    {H3_MSG_REQUEST, false, true, ":method=GET|:scheme=coap|:authority=u@h|:path=/"},
    {H3_MSG_REQUEST, false, true, GET "|te=trailers"},
    {H3_MSG_REQUEST, false, true, GET "|te=Trailers"},
    {H3_MSG_REQUEST, false, true, GET "|content-length=0"},
    {H3_MSG_REQUEST, false, true, GET "|x="},
    {H3_MSG_REQUEST, false, true, GET "|cookie=a|cookie=b"},
    {H3_MSG_REQUEST, false, true, GET "|x=\xc3\xa4"},
    {H3_MSG_REQUEST, false, false, ""},
    {H3_MSG_REQUEST, false, false, ":method=GET|:scheme=https|:authority=a"},
    {H3_MSG_REQUEST, false, false, ":method=GET|:authority=a|:path=/"},
    {H3_MSG_REQUEST, false, false, ":scheme=https|:authority=a|:path=/"},
    {H3_MSG_REQUEST, false, false, ":method=GET|:scheme=https|:path=/"},
    {H3_MSG_REQUEST, false, false, ":method=GET|:scheme=http|:path=/"},
    {H3_MSG_REQUEST, false, false, ":method=GET|:scheme=https|:authority=|:path=/"},
    {H3_MSG_REQUEST, false, false, ":method=GET|:scheme=https|:path=/|host="},
    {H3_MSG_REQUEST, false, false, GET "|host=b.example"},
    {H3_MSG_REQUEST, false, false, GET "|host=a.exampl"},
    {H3_MSG_REQUEST, false, false, GET "|host=a.example|host=a.example"},
    {H3_MSG_REQUEST, false, false, ":method=GET|:scheme=https|:authority=u@h|:path=/"},
    {H3_MSG_REQUEST, false, false, ":method=GET|:scheme=https|:authority=a/b|:path=/"},
    {H3_MSG_REQUEST, false, false, ":method=GET|:scheme=https|:authority=a b|:path=/"},
    {H3_MSG_REQUEST, false, false, ":method=GET|:scheme=https|:authority=a|:path="},
    {H3_MSG_REQUEST, false, false, ":method=GET|:scheme=https|:authority=a|:path=x"},
    {H3_MSG_REQUEST, false, false, ":method=GET|:scheme=https|:authority=a|:path=*"},
    {H3_MSG_REQUEST, false, false, ":method=GET|:scheme=https|:authority=a|:path=/ x"},
    {H3_MSG_REQUEST, false, false, ":method=GET|:scheme=https|:authority=a|:path=/#x"},
    {H3_MSG_REQUEST, false, false, ":method=GET|:scheme=https|:authority=a|:path=/\xc3\xa4"},
    {H3_MSG_REQUEST, false, false, ":method=G T|:scheme=https|:authority=a|:path=/"},
    {H3_MSG_REQUEST, false, false, ":method=|:scheme=https|:authority=a|:path=/"},
    {H3_MSG_REQUEST, false, false, ":method=GET|:scheme=1https|:authority=a|:path=/"},
    {H3_MSG_REQUEST, false, false, ":method=GET|:scheme=|:authority=a|:path=/"},
    {H3_MSG_REQUEST, false, false, GET "|:method=GET"},
    {H3_MSG_REQUEST, false, false, ":method=GET|" GET},
    {H3_MSG_REQUEST, false, false, ":path=/|" GET},
    {H3_MSG_REQUEST, false, false, "x=y|" GET},
    {H3_MSG_REQUEST, false, false, ":status=200|" GET},
    {H3_MSG_REQUEST, false, false, ":foo=bar|" GET},
    {H3_MSG_REQUEST, false, false, ":=bar|" GET},
    {H3_MSG_REQUEST, false, false, ":Method=GET|" GET},
    {H3_MSG_REQUEST, false, false, GET "|Accept=x"},
    {H3_MSG_REQUEST, false, false, GET "|a b=x"},
    {H3_MSG_REQUEST, false, false, GET "|a:b=x"},
    {H3_MSG_REQUEST, false, false, GET "|=x"},
    {H3_MSG_REQUEST, false, false, GET "|a\x7f=x"},
    {H3_MSG_REQUEST, false, false, GET "|\xc3\xa4=x"},
    {H3_MSG_REQUEST, false, false, GET "|a=x\ry"},
    {H3_MSG_REQUEST, false, false, GET "|a=x\ny"},
    {H3_MSG_REQUEST, false, false, GET "|a=x\x01y"},
    {H3_MSG_REQUEST, false, false, GET "|a=x\x7fy"},
    {H3_MSG_REQUEST, false, false, GET "|a= x"},
    {H3_MSG_REQUEST, false, false, GET "|a=x\t"},
    {H3_MSG_REQUEST, false, false, GET "|connection=close"},
    {H3_MSG_REQUEST, false, false, GET "|keep-alive=5"},
    {H3_MSG_REQUEST, false, false, GET "|proxy-connection=close"},
    {H3_MSG_REQUEST, false, false, GET "|transfer-encoding=chunked"},
    {H3_MSG_REQUEST, false, false, GET "|upgrade=x"},
    {H3_MSG_REQUEST, false, false, GET "|te=gzip"},
    {H3_MSG_REQUEST, false, false, GET "|te=trailers, gzip"},
    {H3_MSG_REQUEST, false, false, GET "|content-length="},
    {H3_MSG_REQUEST, false, false, GET "|content-length=-1"},
    {H3_MSG_REQUEST, false, false, GET "|content-length=1x"},
    {H3_MSG_REQUEST, false, false, GET "|content-length=5|content-length=5"},
    {H3_MSG_REQUEST, false, false, GET "|content-length=5, 5"},
    /* CONNECT */
    {H3_MSG_REQUEST, false, true, CONNECT},
    {H3_MSG_REQUEST, false, true, ":method=CONNECT|:authority=[2001:db8::1]:8443"},
    {H3_MSG_REQUEST, false, false, CONNECT "|:scheme=https"},
    {H3_MSG_REQUEST, false, false, CONNECT "|:path=/"},
    {H3_MSG_REQUEST, false, false, ":method=CONNECT"},
    {H3_MSG_REQUEST, false, false, ":method=CONNECT|host=a.example:443"},
    {H3_MSG_REQUEST, false, false, ":method=CONNECT|:authority=a.example"},
    {H3_MSG_REQUEST, false, false, ":method=CONNECT|:authority=a.example:"},
    {H3_MSG_REQUEST, false, false, ":method=CONNECT|:authority=:443"},
    {H3_MSG_REQUEST, false, false, ":method=CONNECT|:authority=a.example:123456"},
    {H3_MSG_REQUEST, false, false, ":method=CONNECT|:authority=u@a.example:443"},
    {H3_MSG_REQUEST, false, false, GET "|connect=x|:protocol=connect-ip"},
    /* Extended CONNECT */
    {H3_MSG_REQUEST, true, true, EXT "|capsule-protocol=?1"},
    {H3_MSG_REQUEST, true, true, CONNECT},
    {H3_MSG_REQUEST, true, true,
     ":method=CONNECT|:protocol=connect-ip|:scheme=https|:authority=10.0.0.1:443|"
     ":path=/.well-known/masque/ip/*/*/|authorization=Bearer k"},
    {H3_MSG_REQUEST, false, false, EXT},
    {H3_MSG_REQUEST, true, false,
     ":method=GET|:protocol=connect-ip|:scheme=https|:authority=a|:path=/"},
    {H3_MSG_REQUEST, true, false, ":method=CONNECT|:protocol=x|:authority=a:1|:path=/"},
    {H3_MSG_REQUEST, true, false, ":method=CONNECT|:protocol=x|:authority=a:1|:scheme=https"},
    {H3_MSG_REQUEST, true, false, ":method=CONNECT|:protocol=x|:scheme=https|:path=/"},
    {H3_MSG_REQUEST, true, false,
     ":method=CONNECT|:protocol=|:scheme=https|:authority=a|:path=/"},
    {H3_MSG_REQUEST, true, false, ":protocol=x|" EXT},
    /* responses */
    {H3_MSG_RESPONSE, false, true, ":status=200"},
    {H3_MSG_RESPONSE, false, true, ":status=100"},
    {H3_MSG_RESPONSE, false, true, ":status=599|server=x"},
    {H3_MSG_RESPONSE, false, true, ":status=999"},
    {H3_MSG_RESPONSE, false, true, ":status=200|host=a|host=b"},
    {H3_MSG_RESPONSE, false, false, ""},
    {H3_MSG_RESPONSE, false, false, "server=x"},
    {H3_MSG_RESPONSE, false, false, ":status=20"},
    {H3_MSG_RESPONSE, false, false, ":status=2000"},
    {H3_MSG_RESPONSE, false, false, ":status=2x0"},
    {H3_MSG_RESPONSE, false, false, ":status=099"},
    {H3_MSG_RESPONSE, false, false, ":status=+20"},
    {H3_MSG_RESPONSE, false, false, ":status="},
    {H3_MSG_RESPONSE, false, false, ":status=101"},
    {H3_MSG_RESPONSE, false, false, ":status=200|:status=200"},
    {H3_MSG_RESPONSE, false, false, ":status=200|:path=/"},
    {H3_MSG_RESPONSE, false, false, "server=x|:status=200"},
    {H3_MSG_RESPONSE, false, false, ":status=200|te=trailers"},
    {H3_MSG_RESPONSE, false, false, ":status=200|connection=close"},
    {H3_MSG_RESPONSE, false, false, ":status=200|content-length=x"},
    {H3_MSG_RESPONSE, false, false, ":status=200|Server=x"},
    /* trailers */
    {H3_MSG_TRAILERS, false, true, ""},
    {H3_MSG_TRAILERS, false, true, "checksum=1|content-length=many"},
    {H3_MSG_TRAILERS, false, false, ":status=200"},
    {H3_MSG_TRAILERS, false, false, ":method=GET"},
    {H3_MSG_TRAILERS, false, false, "checksum=1|:path=/"},
    {H3_MSG_TRAILERS, false, false, "Checksum=1"},
    {H3_MSG_TRAILERS, false, false, "te=trailers"},
    {H3_MSG_TRAILERS, false, false, "transfer-encoding=chunked"},
};

static void table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct h3_field f[MAX_FIELDS];
        char *text = strdup(rows[i].fields);
        size_t n = parse(text, f);
        struct h3_msg m;
        const char *why;
        int rc = h3_msg_check(rows[i].kind, f, n, rows[i].extended_ok, &m, &why);

        if (rc != (rows[i].good ? 0 : H3_MESSAGE_ERROR))
            fail_msg("row %zu: %s: %s", i, rows[i].fields, why ? why : "accepted");
        assert_int_equal(why != NULL, rc != 0);
        free(text);
    }
}

static void meaning(void **state)
{
    static const struct {
        enum h3_msg_kind kind;
        const char *fields;
        struct h3_msg m;
    } want[] = {
        {H3_MSG_REQUEST, GET, {false, false, false, 0, false, 0}},
        {H3_MSG_REQUEST,
         ":method=HEAD|:scheme=https|:authority=a|:path=/|content-length=017",
         {false, false, true, 0, true, 17}},
        {H3_MSG_REQUEST, CONNECT, {true, false, false, 0, false, 0}},
        {H3_MSG_REQUEST, EXT, {true, true, false, 0, false, 0}},
        {H3_MSG_RESPONSE, ":status=103", {false, false, false, 103, false, 0}},
        {H3_MSG_RESPONSE,
         ":status=404|content-length=18446744073709551600",
         {false, false, false, 404, true, UINT64_MAX - 15}},
        {H3_MSG_RESPONSE,
         ":status=404|content-length=99999999999999999999999",
         {false, false, false, 404, true, UINT64_MAX}},
        {H3_MSG_TRAILERS, "content-length=3", {false, false, false, 0, false, 0}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        struct h3_field f[MAX_FIELDS];
        char *text = strdup(want[i].fields);
        struct h3_msg m;
        const char *why;

        assert_int_equal(h3_msg_check(want[i].kind, f, parse(text, f), true, &m, &why), 0);
        assert_int_equal(m.connect, want[i].m.connect);
        assert_int_equal(m.extended, want[i].m.extended);
        assert_int_equal(m.head, want[i].m.head);
        assert_int_equal(m.status, want[i].m.status);
        assert_int_equal(m.has_length, want[i].m.has_length);
        if (m.has_length)
            assert_true(m.length == want[i].m.length);
        free(text);
    }
}

/* Every octet at every place of a name and of a value, by the tables of RFC 9110. */
static void octets(void **state)
{
    static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz";

    (void)state;
    for (unsigned c = 0; c < 256; c++) {
        for (size_t at = 0; at < 3; at++) {
            char name[] = "xyz", value[] = "xyz";
            struct h3_field f = {span_of(name, 3), SPAN_LIT("v"), false};
            bool token_char = c != 0 && strchr(token, (int)c);
            bool visible = c >= 0x80 || (c > 0x20 && c < 0x7f);
            bool inner_space = (c == ' ' || c == '\t') && at == 1;
            struct h3_msg m;
            const char *why;

            name[at] = (char)c;
            assert_int_equal(h3_msg_check(H3_MSG_TRAILERS, &f, 1, false, &m, &why),
                             token_char ? 0 : H3_MESSAGE_ERROR);
            f = (struct h3_field){SPAN_LIT("n"), span_of(value, 3), false};
            value[at] = (char)c;
            assert_int_equal(h3_msg_check(H3_MSG_TRAILERS, &f, 1, false, &m, &why),
                             visible || inner_space ? 0 : H3_MESSAGE_ERROR);
        }
    }
}

static void field_helpers(void **state)
{
    static const struct h3_field f[] = {
        H3_FIELD_LIT(":status", "200"),
        H3_FIELD_LIT("a", ""),
        H3_FIELD_LIT("a", "second"),
        H3_FIELD_LIT("", "nameless"),
    };
    struct h3_field g = h3_field_secret(h3_field_span("k", SPAN_LIT("v")));

    (void)state;
    assert_ptr_equal(h3_fields_find(f, 4, "a"), &f[1]);
    assert_ptr_equal(h3_fields_find(f, 4, ""), &f[3]);
    assert_null(h3_fields_find(f, 4, "A"));
    assert_null(h3_fields_find(f, 3, ""));
    assert_null(h3_fields_find(NULL, 0, "a"));
    assert_true(h3_span_is(h3_fields_value(f, 4, ":status"), "200"));
    assert_non_null(h3_fields_value(f, 4, "a").p);
    assert_null(h3_fields_value(f, 4, "b").p);
    assert_int_equal(h3_fields_count(f, 4, "a"), 2);
    assert_int_equal(h3_fields_count(f, 4, "b"), 0);
    assert_int_equal(h3_fields_size(f, 4), (7 + 3 + 1 + 1 + 6 + 8) + 4 * 32);
    assert_int_equal(h3_fields_size(f, 0), 0);
    assert_true(g.never_index && h3_span_is(g.name, "k") && h3_span_is(g.value, "v"));
    assert_true(h3_span_is_nocase(SPAN_LIT("BeArEr"), "bearer"));
    assert_false(h3_span_is_nocase(SPAN_LIT("bearer["), "bearer{"));
    assert_false(h3_span_is_nocase(SPAN_LIT("beare"), "bearer"));
    assert_true(h3_span_eq(h3_field_str(NULL, NULL).name, span_of(NULL, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(meaning),
        cmocka_unit_test(octets),
        cmocka_unit_test(field_helpers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
