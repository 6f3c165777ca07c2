/*
 * log - one line of text for a person, from any layer.
 *
 * The sink is injected, so that the layers own no descriptor and a test can read
 * what was said. A null `struct log` or one without a function is silent. The
 * level is checked before the arguments are formatted.
 */
#ifndef QUIC_LOG_H
#define QUIC_LOG_H

#include "quic/types.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

struct log {
    void (*line)(void *ctx, enum log_level level, const char *text); /* no newline in text */
    void *ctx;
    enum log_level level; /* lines above it are not made */
};

/* Format one line (cut at 511 bytes) and hand it to the sink. */
void log_line(const struct log *log, enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define LOG_AT(to, lvl, ...)                                                                   \
    do {                                                                                       \
        const struct log *log_to_ = (to);                                                      \
        if (log_to_ && log_to_->line && (lvl) <= log_to_->level)                               \
            log_line(log_to_, (lvl), __VA_ARGS__);                                             \
    } while (0)

#endif
