#include "app/wan_spec.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 512
#define WORDS_MAX      64
#define RATE_MAX       1e12
#define TIME_MAX_S     86400.0

struct unit {
    const char *name;
    double factor;
};

static const struct unit rates[] = {{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}};
static const struct unit times[] = {{"ms", 1e6}, {"us", 1e3}, {"s", 1e9}};
static const struct unit sizes[] = {{"MB", 1e6}, {"kB", 1e3}, {"B", 1}};
static const struct unit shares[] = {{"%", 1e4}};
static const struct unit plain[] = {{"", 1}};

/* The words of a line, in place. */
struct words {
    char text[LINE_MAX_BYTES];
    char *word[WORDS_MAX];
    size_t n, next;
};

static int words_split(const char *line, struct words *w, char *why, size_t why_size)
{
    size_t n = strcspn(line, "#\n");
    char *save = NULL;

    w->n = w->next = 0;
    if (n >= sizeof(w->text)) {
        snprintf(why, why_size, "a line is no longer than %d bytes", LINE_MAX_BYTES - 1);
        return QUIC_INVAL;
    }
    memcpy(w->text, line, n);
    w->text[n] = 0;
    for (char *t = strtok_r(w->text, " \t\r", &save); t; t = strtok_r(NULL, " \t\r", &save)) {
        if (w->n == WORDS_MAX) {
            snprintf(why, why_size, "too many words");
            return QUIC_INVAL;
        }
        w->word[w->n++] = t;
    }
    return 0;
}

static const char *take(struct words *w)
{
    return w->next < w->n ? w->word[w->next++] : NULL;
}

/* "20ms": a number of 0 or more and one of the units; 0 needs none. */
static bool quantity(const char *text, const struct unit *unit, size_t units, double max,
                     double *out)
{
    char *end;
    double v;

    if (!text || text[0] < '0' || text[0] > '9' || strpbrk(text, "xX"))
        return false;
    v = strtod(text, &end);
    for (size_t i = 0; i < units; i++) {
        if (strcmp(end, unit[i].name) == 0) {
            *out = v * unit[i].factor;
            return *out <= max;
        }
    }
    *out = 0;
    return v == 0 && *end == 0;
}

static bool is_time(const char *text, ns_t *out)
{
    double v;

    if (!quantity(text, times, ARRAY_LEN(times), TIME_MAX_S * 1e9, &v))
        return false;
    *out = (ns_t)llround(v);
    return true;
}

/* ---- shapes ---- */

void wan_shape_default(struct wan_shape shape[2])
{
    memset(shape, 0, 2 * sizeof(*shape));
}

/* A direction while it is read: delay in the middle of the jitter. */
struct draft {
    struct wan_shape s;
    ns_t middle, half;
};

static int bad(char *why, size_t why_size, const char *word, const char *value,
               const char *wanted)
{
    snprintf(why, why_size, "%s \"%s\": %s", word, value ? value : "", wanted);
    return QUIC_INVAL;
}

static bool flag(const char *word, struct draft *d)
{
    if (strcmp(word, "order") == 0)
        d->s.reorder = false;
    else if (strcmp(word, "reorder") == 0)
        d->s.reorder = true;
    else
        return false;
    return true;
}

/* One word with its value into one direction. */
static int figure(const char *word, const char *value, struct draft *d, char *why,
                  size_t why_size)
{
    double v;

    if (strcmp(word, "rate") == 0) {
        if (!quantity(value, rates, ARRAY_LEN(rates), RATE_MAX, &v))
            return bad(why, why_size, word, value, "like 50mbit, 800kbit, 1gbit or 0");
        d->s.rate_bps = (uint64_t)llround(v);
    } else if (strcmp(word, "delay") == 0) {
        if (!is_time(value, &d->middle))
            return bad(why, why_size, word, value, "like 20ms, 1.5s or 300us");
    } else if (strcmp(word, "jitter") == 0) {
        if (!is_time(value, &d->half))
            return bad(why, why_size, word, value, "like 5ms, 1.5s or 300us");
    } else if (strcmp(word, "loss") == 0) {
        if (!quantity(value, shares, ARRAY_LEN(shares), 1e6, &v))
            return bad(why, why_size, word, value, "like 0.5%, 100% at most");
        d->s.loss_ppm = (uint32_t)llround(v);
    } else if (strcmp(word, "burst") == 0) {
        if (!quantity(value, plain, ARRAY_LEN(plain), 1e6, &v) || v < 1 || v != floor(v))
            return bad(why, why_size, word, value, "a count of packets, 1 or more");
        d->s.loss_burst = (uint32_t)v;
    } else if (strcmp(word, "queue") == 0) {
        d->s.queue_time = 0;
        d->s.queue_bytes = 0;
        if (is_time(value, &d->s.queue_time) && d->s.queue_time)
            return 0;
        if (!quantity(value, sizes, ARRAY_LEN(sizes), 1e12, &v) || v < 1)
            return bad(why, why_size, word, value, "like 50ms, 64kB or 1500B");
        d->s.queue_bytes = (uint64_t)llround(v);
    } else {
        snprintf(why, why_size, "\"%s\" is no word for a link", word);
        return QUIC_INVAL;
    }
    return 0;
}

/* "up", "down", "both" as the directions meant. */
static bool direction(const char *word, bool dir[2])
{
    bool up = strcmp(word, "up") == 0, down = strcmp(word, "down") == 0;

    if (!up && !down && strcmp(word, "both") != 0)
        return false;
    dir[0] = !down;
    dir[1] = !up;
    return true;
}

static int read_mtu(const char *value, unsigned *mtu, char *why, size_t why_size)
{
    double v;

    if (!mtu) {
        snprintf(why, why_size, "the mtu is set when a link is made");
        return QUIC_INVAL;
    }
    if (!quantity(value, plain, ARRAY_LEN(plain), 65535, &v) || v < 1280 || v != floor(v))
        return bad(why, why_size, "mtu", value, "1280 to 65535");
    *mtu = (unsigned)v;
    return 0;
}

static int shape_words(struct words *w, struct draft d[2], unsigned *mtu, char *why,
                       size_t why_size)
{
    bool dir[2] = {true, true};
    const char *word;
    int rc;

    while ((word = take(w))) {
        const char *value;

        if (direction(word, dir))
            continue;
        if (flag(word, &d[!dir[0]])) {
            if (dir[0] && dir[1])
                flag(word, &d[1]);
            continue;
        }
        value = take(w);
        if (strcmp(word, "mtu") == 0) {
            if ((rc = read_mtu(value, mtu, why, why_size)))
                return rc;
            continue;
        }
        for (unsigned i = 0; i < 2; i++)
            if (dir[i] && (rc = figure(word, value, &d[i], why, why_size)))
                return rc;
    }
    return 0;
}

int wan_shape_read(const char *text, struct wan_shape shape[2], unsigned *mtu_bytes, char *why,
                   size_t why_size)
{
    struct draft d[2];
    struct words w;
    int rc;

    for (unsigned i = 0; i < 2; i++)
        d[i] =
            (struct draft){shape[i], shape[i].delay + shape[i].jitter / 2, shape[i].jitter / 2};
    if ((rc = words_split(text, &w, why, why_size)) ||
        (rc = shape_words(&w, d, mtu_bytes, why, why_size)))
        return rc;
    for (unsigned i = 0; i < 2; i++) {
        if (d[i].half > d[i].middle) {
            snprintf(why, why_size, "the jitter is larger than the delay");
            return QUIC_INVAL;
        }
        d[i].s.delay = d[i].middle - d[i].half;
        d[i].s.jitter = 2 * d[i].half;
    }
    shape[0] = d[0].s;
    shape[1] = d[1].s;
    return 0;
}

/* ---- orders ---- */

static const struct verb {
    const char *word;
    enum wan_verb verb;
    bool named;
} verbs[] = {
    // clang-format off
    {"link", WAN_LINK, true},       {"set", WAN_SET, true},       {"cut", WAN_CUT, true},
    {"restore", WAN_RESTORE, true}, {"unplug", WAN_UNPLUG, true}, {"plug", WAN_PLUG, true},
    {"stats", WAN_STATS, false},    {"quit", WAN_QUIT, false},
    // clang-format on
};

/* Letters, digits, '-', '_' and '.', no file above it. */
static bool is_name(const char *t, size_t n, size_t max)
{
    if (n == 0 || n >= max || t[0] == '.')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!((t[i] >= 'a' && t[i] <= 'z') || (t[i] >= 'A' && t[i] <= 'Z') ||
              (t[i] >= '0' && t[i] <= '9') || strchr("-_.", t[i])))
            return false;
    return true;
}

static int read_end(const char *text, struct wan_end *e, char *why, size_t why_size)
{
    const char *slash = text ? strchr(text, '/') : NULL;

    if (!slash || !is_name(text, (size_t)(slash - text), sizeof(e->ns)) ||
        !is_name(slash + 1, strlen(slash + 1), sizeof(e->dev)))
        return bad(why, why_size, "device", text, "NAMESPACE/DEVICE is wanted, or -/DEVICE");
    memset(e, 0, sizeof(*e));
    if (slash - text != 1 || text[0] != '-')
        memcpy(e->ns, text, (size_t)(slash - text));
    strcpy(e->dev, slash + 1);
    return 0;
}

/* What is left of the line, as the words of a shape. */
static int read_shape(struct words *w, struct wan_order *o, char *why, size_t why_size)
{
    struct wan_shape probe[2];
    const char *word;
    size_t n = 0;

    while ((word = take(w))) {
        int k = snprintf(o->shape + n, sizeof(o->shape) - n, "%s ", word);

        if (k < 0 || (size_t)k >= sizeof(o->shape) - n) {
            snprintf(why, why_size, "too many words for a link");
            return QUIC_INVAL;
        }
        n += (size_t)k;
    }
    wan_shape_default(probe);
    /* What is set later has a delay of its own for its jitter. */
    if (o->verb == WAN_SET)
        probe[0].delay = probe[1].delay = (ns_t)(TIME_MAX_S * 1e9);
    return wan_shape_read(o->shape, probe, o->verb == WAN_LINK ? &o->mtu_bytes : NULL, why,
                          why_size);
}

static int read_verb(struct words *w, const char *word, struct wan_order *o, char *why,
                     size_t why_size)
{
    const char *t;

    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (!word || strcmp(word, verbs[i].word) != 0)
            continue;
        o->verb = verbs[i].verb;
        if (!verbs[i].named)
            return 0;
        t = take(w);
        if (!t || !is_name(t, strlen(t), sizeof(o->name)))
            return bad(why, why_size, word, t, "which link?");
        strcpy(o->name, t);
        return 0;
    }
    return bad(why, why_size, "order", word,
               "one of link, set, cut, restore, unplug, plug, stats, quit");
}

int wan_order_read(const char *line, struct wan_order *o, char *why, size_t why_size)
{
    const char *word;
    struct words w;
    int rc;

    memset(o, 0, sizeof(*o));
    o->mtu_bytes = 1500;
    o->dir[0] = o->dir[1] = true;
    if ((rc = words_split(line, &w, why, why_size)))
        return rc;
    word = take(&w);
    if (!word)
        return 0;
    if (strcmp(word, "at") == 0) {
        o->timed = true;
        if (!is_time(word = take(&w), &o->at))
            return bad(why, why_size, "at", word, "like 10s or 500ms");
        word = take(&w);
        if (word && strcmp(word, "every") == 0) {
            if (!is_time(word = take(&w), &o->every) || o->every < NS_PER_MS)
                return bad(why, why_size, "every", word, "like 10s, 1ms at least");
            word = take(&w);
        }
    }
    if ((rc = read_verb(&w, word, o, why, why_size)))
        return rc;
    if (o->verb == WAN_LINK && o->timed) {
        snprintf(why, why_size, "a link is made at once");
        return QUIC_INVAL;
    }
    if (o->verb == WAN_LINK && ((rc = read_end(take(&w), &o->end[0], why, why_size)) ||
                                (rc = read_end(take(&w), &o->end[1], why, why_size))))
        return rc;
    if (o->verb == WAN_LINK || o->verb == WAN_SET)
        return read_shape(&w, o, why, why_size);
    if ((o->verb == WAN_CUT || o->verb == WAN_RESTORE) && (word = take(&w)) &&
        !direction(word, o->dir))
        return bad(why, why_size, "direction", word, "up, down or both");
    if ((word = take(&w)))
        return bad(why, why_size, "order", word, "one word too many");
    return 0;
}
