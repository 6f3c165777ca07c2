# mqvpn. `make` builds ./mqvpn, `make check` tests it; what the machine lacks is got by deps/get.sh.
#
#   make [all]       ./mqvpn and the archive of every layer
#   make check       all tests; T=name for those whose name contains it; SAN=1 with sanitizers
#   make check-unit  those that are programs: no end-to-end scripts
#   make check-long  all tests, the randomized ones over 200 seeds (or SEEDS=count)
#   make fuzz        libFuzzer on each target, or on F=name, for TIME=seconds (needs clang)
#   make bench       the benchmarks; make peers: what bench/e2e.sh compares with, and its tools
#   make cov         line coverage by the tests, per file
#   make fmt | deps | install (PREFIX=, DESTDIR=) | clean (keeps the dependencies) | distclean
#
# Also: CC, CFLAGS, WERROR=1, V=1 (show commands), O=folder (output), DEPS=folder (dependencies),
# DEPS_PREFIX=/path (ready-made ones), ONLY="a.c b.c" (no other files in the archives).

# Each compiler and mode has its own output folder; the dependencies are shared by all.
empty   :=
comma   := ,
variant := $(filter-out cc gcc,$(notdir $(firstword $(CC)))) $(if $(SAN),san)
O       ?= build$(addprefix /,$(subst $(empty) $(empty),-,$(strip $(variant))))
DEPS    ?= build/deps
TIME    ?= 60
PREFIX  ?= /usr/local
CFLAGS  ?= -O2 -g

WARN  := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
         -Wwrite-strings -Wvla $(if $(WERROR),-Werror)
MODE  := $(if $(SAN),-fsanitize=address$(comma)undefined -fno-sanitize-recover=all \
         -fno-omit-frame-pointer) $(if $(COV),--coverage -O0) \
         $(if $(LIBFUZZER),-fsanitize=fuzzer-no-link)
FLAGS  = -std=gnu11 -D_GNU_SOURCE= -I. -I$(DEPS)/include @$(DEPS)/flags/build.cflags \
         -fstack-protector-strong $(WARN) $(CPPFLAGS) $(CFLAGS) $(MODE)
LINK   = $(CC) $(CFLAGS) $(MODE) $(LDFLAGS) -Wl,-z,relro,-z,now -Wl,--as-needed -L$(DEPS)/lib

ifeq ($(V),)
Q   := @
say  = @printf '  %-5s %s\n' $1 $2
endif
# One job per core, unless -j says otherwise.
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif

### What is built of which files

LAYERS     := leaf quic mp h3 masque sched tun app
EXTERNAL   := openssl liburing libmnl inih cmocka
pick        = $(if $(ONLY),$(filter $(ONLY),$1),$1)
SRC_leaf   := $(call pick,$(wildcard quic/wire.c quic/log.c))
SRC_quic   := $(call pick,$(filter-out $(SRC_leaf),$(wildcard quic/*.c)))
SRC_app    := $(call pick,$(filter-out app/main.c,$(wildcard app/*.c)))
SRC_sim    := $(wildcard test/sim/*.c)
$(foreach l,mp h3 masque sched tun,$(eval SRC_$l := $(call pick,$(wildcard $l/*.c))))

# What the tests of a layer may link, in link order: itself and what it depends on. Anything else
# is an undefined symbol, which keeps the direction of dependencies.
USE_leaf   := leaf
USE_sched  := sched leaf
USE_h3     := h3 leaf
USE_masque := masque leaf
USE_quic   := quic leaf openssl
USE_mp     := mp quic leaf openssl
USE_tun    := tun leaf libmnl
USE_app    := app mp quic h3 masque sched tun leaf openssl liburing libmnl inih
USE_sim    := sim mp quic h3 masque sched leaf openssl
USE_bond   := sim app mp quic h3 masque sched tun leaf openssl liburing libmnl inih
USE_fuzz   := mp quic h3 masque sched tun leaf openssl libmnl

# Flags to link single tests and fuzz targets with.
wrap        = $(patsubst %,-Wl$(comma)--wrap=%,$1)
LINK_quic_alloc := $(call wrap,malloc calloc realloc free)
LINK_sim_memory := $(LINK_quic_alloc)
LINK_app_ring_faults := $(call wrap,read writev sendmsg sendmmsg recvmmsg epoll_wait epoll_pwait2 \
                   $(addprefix io_uring_,queue_init_params submit submit_and_wait \
                   submit_and_get_events submit_and_wait_timeout))
LINK_fuzz/pair  := $(call wrap,aead_seal aead_open aead_masks aead_protect_head aead_unprotect_head \
                   RAND_bytes_ex RAND_priv_bytes_ex)

PROGRAM    := $(if $(wildcard app/main.c),$(O)/mqvpn)
UNITS      := $(patsubst test/%.c,%,$(wildcard test/*.c))
PLATFORM   := $(patsubst test/%.c,%,$(wildcard test/platform/*.c))
HELPERS    := $(patsubst test/%.c,%,$(wildcard test/e2e/*.c test/interop/*.c))
SCRIPTS    := $(patsubst test/%.sh,%,$(filter-out %/lib.sh,$(wildcard test/e2e/*.sh test/interop/*.sh)))
FUZZERS    := $(filter-out fuzz/replay,$(patsubst %.c,%,$(wildcard fuzz/*.c)))
BENCHES    := $(patsubst %.c,%,$(wildcard bench/*.c))
TOOLS      := $(patsubst %.c,%,$(wildcard bench/tools/*.c))

# Tests by name, and the programs that those chosen need.
TESTS      := $(UNITS) $(PLATFORM) $(FUZZERS) $(if $(UNIT),,$(SCRIPTS))
CHOSEN     := $(if $(T),$(foreach t,$(TESTS),$(if $(findstring $(T),$t),$t)),$(TESTS))
NEEDED     := $(addprefix $(O)/test/,$(filter $(UNITS) $(PLATFORM),$(CHOSEN))) \
              $(addprefix $(O)/,$(filter $(FUZZERS),$(CHOSEN))) \
              $(if $(filter $(SCRIPTS),$(CHOSEN)),$(PROGRAM) $(HELPERS:%=$(O)/test/%) $(TOOLS:%=$(O)/%)) \
              $(if $(T),,all $(BENCHES:%=$(O)/%))

### Targets

.PHONY: FORCE all deps check check-unit check-long fuzz fuzz-run bench peers fmt cov install clean distclean
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:

all: $(foreach l,$(LAYERS),$(if $(SRC_$l),$(O)/lib$l.a)) $(PROGRAM)
ifneq ($(PROGRAM),)
ifeq ($(origin O)$(SAN)$(COV),file)
	@cmp -s $(PROGRAM) mqvpn || install -m 755 $(PROGRAM) mqvpn
endif
endif

# Another DEPS_PREFIX than last time is looked at anew.
$(DEPS)/build.ok: deps/list deps/get.sh $(wildcard deps/recipe/*) \
        $(if $(filter-out $(file <$(DEPS)/prefix),$(DEPS_PREFIX)),FORCE)
	@DEPS=$(DEPS) DEPS_PREFIX=$(DEPS_PREFIX) deps/get.sh build
	@touch $@
$(DEPS)/check.ok: $(DEPS)/build.ok
	@DEPS=$(DEPS) DEPS_PREFIX=$(DEPS_PREFIX) deps/get.sh check
	@touch $@
deps: $(DEPS)/check.ok

check: $(NEEDED) | $(DEPS)/check.ok
	@O=$(O) DEPS=$(DEPS) SAN=$(SAN) SEEDS=$(SEEDS) LONG=$(LONG) COV=$(COV) test/run.sh $(CHOSEN)
# `all` beside them comes first: two makes must not write the same archives.
check-unit check-long: | $(filter all,$(MAKECMDGOALS))
check-unit:
	@$(MAKE) --no-print-directory check UNIT=1
check-long:
	@$(MAKE) --no-print-directory check LONG=1 SEEDS=$(or $(SEEDS),200)

fuzz:
	@$(MAKE) --no-print-directory fuzz-run CC=clang O=build/libfuzzer SAN=1 LIBFUZZER=1
fuzz-run: $(addprefix $(O)/,$(if $(F),fuzz/$(F),$(FUZZERS)))
	@for f in $(^F); do \
	    mkdir -p $(O)/corpus/$$f $(O)/found/$$f; echo "fuzz $$f, $(TIME) s"; \
	    $(O)/fuzz/$$f -max_total_time=$(TIME) -timeout=10 -print_final_stats=1 \
	        -artifact_prefix=$(O)/found/$$f/ $(O)/corpus/$$f fuzz/corpus/$$f || exit 1; done

bench: $(BENCHES:%=$(O)/%)
	@for b in $^; do echo "== $$b"; $$b || exit 1; done

peers: $(TOOLS:%=$(O)/%) $(O)/test/e2e/flow $(DEPS)/check.ok
	@DEPS=$(DEPS) deps/get.sh bench

LAYERS_RE := ^($(subst $(empty) $(empty),|,$(filter-out leaf,$(LAYERS))))/.*[.]c$$
cov:
	@$(MAKE) --no-print-directory check O=build/cov COV=1
	@find build/cov -name '*.gcda' -exec gcov -n -s . {} + 2>/dev/null | \
	    awk -F"[':% ]+" -v layers='$(LAYERS_RE)' '/^File/ { f = $$2 } \
	    /^Lines/ { if (f ~ layers) printf "%6.1f %% of %5d  %s\n", $$3, $$5, f; f = "" }' | sort -u -k5 | \
	    awk '{ print; split($$5, at, "/"); n[at[1]] += $$4; hit[at[1]] += $$1 * $$4 } \
	    END { for (l in n) printf "%6.1f %% of %5d  %s\n", hit[l] / n[l], n[l], l }'

fmt:
	clang-format -i $$(git ls-files '*.c' '*.h')

install: all
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(PROGRAM) $(DESTDIR)$(PREFIX)/bin/mqvpn

clean:
	rm -rf mqvpn $(if $(filter build,$(O)),$(filter-out build/deps,$(wildcard build/*)),$(O))
distclean:
	rm -rf mqvpn build

### Rules

$(O)/%.o: %.c | $(DEPS)/build.ok
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$Q$(CC) $(FLAGS) -MMD -MP -c $< -o $@

TEST_OBJECTS := $(addprefix $(O)/test/,$(addsuffix .o,$(UNITS)) $(SRC_sim:test/%.c=%.o))
$(TEST_OBJECTS): FLAGS += @$(DEPS)/flags/cmocka.cflags
$(TEST_OBJECTS): | $(DEPS)/check.ok

define archive
$(O)/lib$1.a: $(SRC_$1:%.c=$(O)/%.o)
	$$(call say,AR,$$@)
	$$Qrm -f $$@ && $(AR) rcs $$@ $$^
endef
$(foreach l,$(LAYERS) sim,$(if $(SRC_$l),$(eval $(call archive,$l))))

# program TARGET, OBJECTS, LAYERS AND LIBRARIES, MORE FLAGS
archives = $(foreach l,$1,$(if $(SRC_$l),$(O)/lib$l.a))
define program
$1: $2 $(call archives,$3) $(if $(filter cmocka,$3),$(DEPS)/check.ok,$(DEPS)/build.ok)
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$$Q$$(LINK) $2 $(call archives,$3) $4 $(patsubst %,@$(DEPS)/flags/%.libs,$(filter $3,$(EXTERNAL))) -lm -o $$@
endef
layer = $(firstword $(subst _, ,$1))
$(eval $(call program,$(O)/mqvpn,$(O)/app/main.o,$(USE_app)))
$(foreach t,$(UNITS),$(eval $(call program,$(O)/test/$t,$(O)/test/$t.o,$(USE_$(call layer,$t)) cmocka,$(LINK_$t))))
$(foreach t,$(PLATFORM),$(eval $(call program,$(O)/test/$t,$(O)/test/$t.o,liburing libmnl)))
$(foreach t,$(HELPERS),$(eval $(call program,$(O)/test/$t,$(O)/test/$t.o,$(USE_app))))
$(foreach t,$(FUZZERS),$(eval $(call program,$(O)/$t,$(O)/$t.o $(if $(LIBFUZZER),,$(O)/fuzz/replay.o),$(USE_fuzz),$(if $(LIBFUZZER),-fsanitize=fuzzer) $(LINK_$t))))
$(foreach t,$(TOOLS),$(eval $(call program,$(O)/$t,$(O)/$t.o)))
$(foreach t,$(BENCHES),$(eval $(call program,$(O)/$t,$(O)/$t.o,$(USE_app))))

-include $(shell find $(O) -path $(O)/deps -prune -o -name '*.d' -print 2>/dev/null)
