# mailweir - one plain Makefile, no configure step. `make help` lists the targets.
#
# B is the build folder, SAN an optional sanitizer set: `make asan` and `make tsan` call this file again
# with their own. Everything that is compiled is found by folder; nothing is listed by hand. What takes
# more than a line is a script in test/ or dist/.

SHELL := /bin/bash
B ?= build
ifeq ($(origin CC),default)
CC := gcc
endif
SAN ?=
OPT ?= -O2
WERROR ?= -Werror
PKGS := liburing ldns
# wolfSSL: the lean static library that dist/deps-wolfssl.sh builds when a goal needs it, Debian's package
# where that cannot be had; WOLFSSL=system insists on the package. The two differ in the layout of
# structs, so a change of mind compiles anew.
WOLFSSL ?= auto
DEPS := build/deps
ifneq ($(filter-out auto system,$(WOLFSSL)),)
$(error WOLFSSL is auto or system, not "$(WOLFSSL)")
endif
# choice.mk sets LEAN; make writes it by the rule below and then begins anew. Not for goals that compile
# nothing or call this file again, nor under make -n, -q and -t, which promise to change nothing.
LEAN :=
DRY := $(strip $(foreach flag,n q t,$(findstring $(flag),$(filter-out --%,$(firstword -$(MAKEFLAGS))))))
LEAN_PART := $(if $(filter auto,$(WOLFSSL)),lean)
COMPILES_NOT := deps run test check asan tsan fuzz lint format format-check build-deps uninstall clean help
ifneq ($(filter-out $(COMPILES_NOT),$(or $(MAKECMDGOALS),all)),)
ifeq ($(WOLFSSL),auto)
ifeq ($(DRY),)
-include $(DEPS)/choice.mk
else
-include $(wildcard $(DEPS)/choice.mk)
endif
endif
endif
INTERNAL_CFLAGS := -std=gnu17 $(OPT) -g -I. -D_GNU_SOURCE -pthread -fno-strict-aliasing -fPIE -fstack-protector-strong \
	-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wwrite-strings \
	-Wvla -Wformat=2 -Wimplicit-fallthrough -Wswitch-enum -Wundef $(WERROR) $(SAN) \
	$(if $(LEAN),-isystem $(DEPS)/include)
ifeq ($(SAN)$(filter -O0,$(OPT)),)
INTERNAL_CFLAGS += -D_FORTIFY_SOURCE=2
endif
LDFLAGS_ALL := -pie -pthread -Wl,-z,relro,-z,now $(SAN) $(LDFLAGS)
LIBS = $(shell pkg-config --libs $(PKGS)) $(if $(LEAN),$(DEPS)/lib/libwolfssl.a,-lwolfssl) -linih -lm

# Runs: how many jobs, how long, which parts; and where things are installed.
JOBS ?= $(shell nproc)
TIME ?= 60
PARTS ?= structure unit sim integration
SAN_PARTS ?= unit sim integration
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR ?=
DOCDIR := $(DESTDIR)$(PREFIX)/share/doc/mailweir
UNITDIR := $(DESTDIR)$(PREFIX)/lib/systemd/system

LIB_SRC := $(filter-out core/main.c,$(wildcard core/*.c net/*.c filters/*.c tls/*.c))
BENCH_SRC := $(filter-out bench/weir_%.c,$(wildcard bench/*.c))
SUPPORT_SRC := $(wildcard test/*.c)
PROGRAMS := $(B)/mailweir $(patsubst bench/weir_%.c,$(B)/weir-%,$(wildcard bench/weir_*.c))
TEST_PROGRAMS := $(patsubst test/%.c,$(B)/test/%,$(wildcard test/unit/test_*.c test/sim/test_*.c test/probe/*.c))
FUZZ_PROGRAMS := $(patsubst test/fuzz/%.c,$(B)/fuzz/%,$(wildcard test/fuzz/fuzz_*.c))
C_FILES := $(foreach folder,core net filters tls bench test test/*,$(wildcard $(folder)/*.[ch]))

obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
# This file again, as parallel as the machine unless the caller said -j.
AGAIN = $(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(JOBS))

.PHONY: all always deps build-deps run test tests check bench asan tsan fuzz fuzzers lint format format-check \
	install uninstall clean help
.DELETE_ON_ERROR:
.SECONDARY:

all: $(PROGRAMS) ## build mailweir and its companions into build/ (names what is missing to do so)

# Plain `make` installs nothing: it says what is missing, and the command for it.
build-deps:
	@test/deps.sh --check build

ifeq ($(DRY),)
# Without the packages to compile it there is no choice yet: build-deps says what is missing.
$(DEPS)/choice.mk: dist/deps-wolfssl.sh dist/wolfssl/user_settings.h
	@! test/deps.sh --check build 2>/dev/null || CC=$(CC) dist/deps-wolfssl.sh $(DEPS)
endif

$(B)/wolfssl: always
	@mkdir -p $(@D)
	@echo '$(or $(LEAN),system)' | cmp -s - $@ || echo '$(or $(LEAN),system)' > $@

$(B)/obj/%.o: %.c Makefile $(B)/wolfssl | build-deps
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(INTERNAL_CFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(B)/libmailweir.a: $(call obj,$(LIB_SRC))
	@echo "  AR    $@"
	@rm -f $@ && ar rcs $@ $^

# What tests share, and the sink's parts: an archive, so that each program takes only what it uses.
$(B)/libsupport.a: $(call obj,$(SUPPORT_SRC) $(BENCH_SRC))
	@echo "  AR    $@"
	@rm -f $@ && ar rcs $@ $^

$(B)/mailweir: $(call obj,core/main.c) $(B)/libmailweir.a
	@echo "  LD    $@"
	@$(CC) $(LDFLAGS_ALL) $^ $(LIBS) -o $@

$(B)/weir-%: $(B)/obj/bench/weir_%.o $(call obj,$(BENCH_SRC)) $(B)/libmailweir.a
	@echo "  LD    $@"
	@$(CC) $(LDFLAGS_ALL) $^ $(LIBS) -o $@

$(B)/test/%: $(B)/obj/test/%.o $(B)/libsupport.a $(B)/libmailweir.a
	@mkdir -p $(@D)
	@echo "  LD    $@"
	@$(CC) $(LDFLAGS_ALL) $^ $(LIBS) -lcmocka -o $@

# Fuzzers are clang's: the library is compiled once more, instrumented (and without warnings, which are
# gcc's and clang-tidy's matter).
$(B)/fuzz/%: $(B)/obj/test/fuzz/%.o $(B)/libsupport.a $(B)/libmailweir.a
	@mkdir -p $(@D)
	@echo "  LD    $@"
	@$(CC) $(LDFLAGS_ALL) -fsanitize=fuzzer $^ $(LIBS) -o $@

tests: $(PROGRAMS) $(TEST_PROGRAMS)

fuzzers: $(FUZZ_PROGRAMS)

deps: ## install what building and running need, build the lean wolfSSL or try again to
	@test/deps.sh build run $(LEAN_PART)
	@$(if $(LEAN_PART),FORCE=1 CC=$(CC) dist/deps-wolfssl.sh $(DEPS))

run: ## install what is missing, build, start sink and mailweir, send a sample, serve until Ctrl-C
	@test/deps.sh build $(LEAN_PART) run
	@$(AGAIN) all
	@B=$(B) dist/run.sh

test: ## install what the tests need, build, run them all (PARTS="unit sim" for some)
	@test/deps.sh build $(LEAN_PART) test
	@$(AGAIN) tests
	@B=$(B) test/run $(PARTS)

check: test

asan: ## the tests under AddressSanitizer and UBSan (SAN_PARTS="unit sim" for some)
	@test/deps.sh build $(LEAN_PART) test
	@$(AGAIN) B=$(B)/asan OPT=-O1 tests \
		SAN="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
	@B=$(B)/asan UBSAN_OPTIONS=print_stacktrace=1 ASAN_OPTIONS="detect_stack_use_after_return=1:$${ASAN_OPTIONS:-}" \
		test/run $(SAN_PARTS)

# setarch -R: gcc 12's ThreadSanitizer cannot place its shadow under wide address space randomisation.
tsan: ## the tests under ThreadSanitizer
	@test/deps.sh build $(LEAN_PART) test
	@$(AGAIN) B=$(B)/tsan OPT=-O1 SAN="-fsanitize=thread -fno-omit-frame-pointer" tests
	@B=$(B)/tsan TSAN_OPTIONS=halt_on_error=1 setarch -R test/run $(SAN_PARTS)

fuzz: ## every libFuzzer target for TIME=60 seconds, two at a time
	@test/deps.sh build $(LEAN_PART) fuzz
	@$(AGAIN) B=$(B)/clang CC=clang-14 OPT=-O1 WERROR=-w fuzzers \
		SAN="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all"
	@B=$(B)/clang TIME=$(TIME) test/fuzz/run.sh

lint: ## format, house rules, clang-tidy, gcc -fanalyzer
	@test/deps.sh build lint test
	@test/lint.sh

format: ## let clang-format write
	@test/deps.sh lint
	@clang-format-14 -i $(C_FILES)

format-check: ## say where clang-format would write
	@test/deps.sh lint
	@clang-format-14 --dry-run -Werror $(C_FILES)

bench: all ## compare with HAProxy in one run on this machine
	@test/deps.sh build bench
	@B=$(B) bench/compare

install: all ## into PREFIX=/usr/local (DESTDIR=); an existing configuration is left alone
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/sbin $(B)/mailweir
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(filter-out $(B)/mailweir,$(PROGRAMS))
	install -D -m 644 -t $(DOCDIR) README.md CHANGELOG.md LICENSE proxy.ini
	@mkdir -p $(UNITDIR)
	sed -e 's|@SBINDIR@|$(PREFIX)/sbin|' -e 's|@SYSCONFDIR@|$(SYSCONFDIR)|' \
		-e 's|@DOCDIR@|$(PREFIX)/share/doc/mailweir|' \
		dist/mailweir.service.in >$(UNITDIR)/mailweir.service
	@if [ -e $(DESTDIR)$(SYSCONFDIR)/mailweir/proxy.ini ]; then \
		echo "$(SYSCONFDIR)/mailweir/proxy.ini is there and stays as it is"; \
	else install -v -D -m 644 proxy.ini $(DESTDIR)$(SYSCONFDIR)/mailweir/proxy.ini; fi

uninstall: ## remove what install put there, the configuration excepted
	rm -f $(DESTDIR)$(PREFIX)/sbin/mailweir $(UNITDIR)/mailweir.service \
		$(patsubst $(B)/%,$(DESTDIR)$(PREFIX)/bin/%,$(filter-out $(B)/mailweir,$(PROGRAMS)))
	rm -rf $(DOCDIR)

clean: ## remove what was built; the lean wolfSSL in build/deps stays
	@[ ! -d $(B) ] || find $(B) -mindepth 1 -maxdepth 1 ! -path $(DEPS) -exec rm -rf {} + && \
		rmdir --ignore-fail-on-non-empty $(B)

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 16

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
