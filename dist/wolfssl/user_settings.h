/*
 * user_settings - what the lean wolfSSL of `make deps` contains, and nothing besides.
 *
 * Chosen for a TLS 1.2 and 1.3 engine with many idle sessions, and for the signatures and digests
 * of the mail checks. Left out on purpose, as each costs memory in every session or is attack surface
 * without use here: the OpenSSL layer (OPENSSL_EXTRA), SESSION_CERTS, KEEP_PEER_CERT, DTLS, PSK,
 * finite-field DH, CBC, static RSA, early data, renegotiation, post-handshake authentication, PKCS 7
 * and 12. The session cache is as small as it gets and switched off in each context (tickets do its
 * work); without it the library does not link.
 *
 * Plain directives only: the library's assembler files include this as well. Whoever includes
 * wolfSSL's headers includes <wolfssl/options.h> first, which leads here, so that the library and its
 * users always see the same layout.
 */
#ifndef MAILWEIR_WOLFSSL_USER_SETTINGS_H
#define MAILWEIR_WOLFSSL_USER_SETTINGS_H

/* The machine. Vector code is chosen at run time by what the processor has. */
#ifdef __x86_64__
#define WOLFSSL_X86_64_BUILD
#define WOLFSSL_AESNI
#define USE_INTEL_SPEEDUP
#define WOLFSSL_SP_ASM
#define WOLFSSL_SP_X86_64_ASM
#endif
#ifdef __SIZEOF_INT128__
#define HAVE___UINT128_T 1
#endif
#ifndef __ASSEMBLER__
#define HAVE_THREAD_LS
#endif
#define HAVE_GETRANDOM
#define WOLFSSL_GETRANDOM
#define WOLFSSL_USER_IO
#define WOLFSSL_NO_SOCK
#define NO_WRITEV
#define NO_WOLFSSL_DIR

/* Big numbers: constant-time, fast paths for the usual sizes, any size up to RSA 8192. */
#define WOLFSSL_SP_MATH_ALL
#define WOLFSSL_HAVE_SP_RSA
#define WOLFSSL_HAVE_SP_ECC
#define WOLFSSL_SP_4096
#define WOLFSSL_SP_384
#define WOLFSSL_SP_521
#define SP_INT_BITS 8192
#define RSA_MIN_SIZE 1024
#define RSA_MAX_SIZE 8192
#define WC_RSA_PSS
#define WC_RSA_BLINDING
#define TFM_TIMING_RESISTANT
#define ECC_TIMING_RESISTANT
#define ECC_SHAMIR

/* Algorithms. SHA-1 serves key identifiers and old DKIM digests, never a handshake signature. */
#define HAVE_ECC
#define HAVE_ECC384
#define HAVE_ECC521
#define HAVE_CURVE25519
#define HAVE_ED25519
#define WOLFSSL_SHA384
#define WOLFSSL_SHA512
#define HAVE_HKDF
#define HAVE_AESGCM
#define GCM_TABLE_4BIT
#define WOLFSSL_AES_DIRECT
#define HAVE_CHACHA
#define HAVE_POLY1305
#define HAVE_ONE_TIME_AUTH
#define HAVE_HASHDRBG
#define WOLFSSL_BASE64_ENCODE
#define WOLFSSL_IP_ALT_NAME
#define NO_DH
#define NO_DSA
#define NO_RC4
#define NO_MD4
#define NO_DES3
#define NO_PSK
#define NO_PWDBASED
#define NO_PKCS12
#define NO_PKCS7

/* The protocol. */
#define WOLFSSL_TLS13
#define NO_OLD_TLS
#define WOLFSSL_AEAD_ONLY
#define HAVE_TLS_EXTENSIONS
#define HAVE_SUPPORTED_CURVES
#define HAVE_EXTENDED_MASTER
#define HAVE_SERVER_RENEGOTIATION_INFO
#define HAVE_FALLBACK_SCSV
#define HAVE_SNI
#define HAVE_ALPN
#define HAVE_SESSION_TICKET
#define WOLFSSL_NO_DEF_TICKET_ENC_CB
#define SMALL_SESSION_CACHE
#define NO_SESSION_CACHE_REF
#define WOLFSSL_ALWAYS_VERIFY_CB
#define WOLFSSL_ALT_CERT_CHAINS
#define WOLFSSL_MAX_SUITE_SZ 1024 /* scanners offer all suites there are, 700 bytes of them */

#endif
