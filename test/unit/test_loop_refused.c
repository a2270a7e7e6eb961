/*
 * test_loop_refused - where io_uring is refused, or too old, loop_create() says so with the
 * kernel's error and leaves nothing behind, and epoll works as ever.
 *
 * A seccomp filter plays the container, and the kernel without provided-buffer rings. Filters stay
 * for the rest of the process, so the order of the tests matters.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "test/loop_world.h"

enum { REGISTER_PBUF_RING = 22 };

static const struct loop_limits limits = {.fd_count = 256, .op_count = 64, .buf_count = 8};

static int count_fds(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

/* From now on the call fails with `error`; with `operation` >= 0 only when its second argument is
 * that. */
static void refuse(long call, int operation, int error)
{
    uint32_t second = offsetof(struct seccomp_data, args[1]); /* its low word: little-endian */
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, second),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)operation, 0, operation < 0 ? 0 : 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(rules) / sizeof(rules[0]), .filter = rules};
    assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void is_refused_with(int error)
{
    int before = count_fds();
    struct loop *loop = NULL;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(loop_create(&loop, &loop_uring, &limits, NULL), -error);
        assert_null(loop);
    }
    assert_int_equal(count_fds(), before);
}

static void io_uring_leaves_nothing_behind(void **state)
{
    (void)state;
    int before = count_fds();
    struct loop *loop = NULL;
    int result = loop_create(&loop, &loop_uring, &limits, NULL);
    if (result < 0) {
        print_message("    skipped: io_uring is refused here: %s\n", strerror(-result));
        skip();
    }
    assert_string_equal(loop_name(loop), "io_uring");
    loop_destroy(&loop);
    assert_null(loop);
    loop_destroy(&loop); /* harmless */
    assert_int_equal(count_fds(), before);
}

static void kernel_without_buffer_rings(void **state)
{
    (void)state;
    struct loop *loop = NULL;
    if (loop_create(&loop, &loop_uring, &limits, NULL) < 0) {
        print_message("    skipped: io_uring is refused here anyway\n");
        skip();
    }
    loop_destroy(&loop);
    refuse(SYS_io_uring_register, REGISTER_PBUF_RING, EINVAL);
    is_refused_with(EINVAL);
}

static void container_without_io_uring(void **state)
{
    (void)state;
    refuse(SYS_io_uring_setup, -1, EPERM);
    is_refused_with(EPERM);
}

static void epoll_works_all_the_same(void **state)
{
    (void)state;
    int before = count_fds();
    struct world world;
    assert_int_equal(world_open(&world, &loop_epoll, &limits, NULL), 0);
    assert_string_equal(loop_name(world.loop), "epoll");
    int ours, far;
    world_pair(&world, &ours, &far);
    loop_close(world.loop, ours);
    far_close(&world, far);
    world_close(&world);
    assert_int_equal(count_fds(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(io_uring_leaves_nothing_behind),
        cmocka_unit_test(kernel_without_buffer_rings),
        cmocka_unit_test(container_without_io_uring),
        cmocka_unit_test(epoll_works_all_the_same),
    };
    return cmocka_run_group_tests_name("loop_refused", tests, NULL, NULL);
}
