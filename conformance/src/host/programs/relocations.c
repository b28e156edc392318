// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What code of modules refers to, in the ways that gcc has for it: functions and data of this object, of another, weak, hidden;
 * of all sizes; called, jumped to, taken the address of; in tables, strings, jump tables and sections of the kernel's kind.
 */
typedef unsigned long u64;
typedef unsigned short u16;
typedef unsigned char u8;

struct big {
	long a[64];
};

extern int ext_func(int n, const char *text);
extern void ext_void(void);
extern int ext_data;
extern char ext_bytes[];
extern u64 ext_long;
extern u16 ext_short;
extern struct big ext_big;
extern int (*ext_pointer)(int n);
extern int weak_func(void) __attribute__((weak));
extern int hidden_data __attribute__((visibility("hidden")));
extern int hidden_func(void) __attribute__((visibility("hidden")));

static int local_data = 7;
int global_data = 9;
static u8 bytes[100];
static u16 shorts[50];
static __int128 wide;
static const char *const strings[] = { "one", "two", "three" };

static __attribute__((noinline)) int local_func(int n)
{
	ext_void();
	return n * local_data;
}

int calls(int n)
{
	return ext_func(n, "string") + local_func(n) + hidden_func() + (weak_func ? weak_func() : 1);
}

int tail_call(int n)
{
	return ext_func(n, "tail");
}

void conditional_tail_call(int n)
{
	if (n)
		ext_void();
}

int local_tail_call(int n)
{
	if (__builtin_expect(n > 3, 1))
		return local_func(n);
	return 2;
}

u64 loads(void)
{
	return ext_data + local_data + global_data + ext_short + hidden_data + ext_bytes[3] + ext_long + ext_big.a[5] +
	       bytes[3] + shorts[4] + (u64)wide;
}

void stores(int n)
{
	ext_data = n;
	local_data = n;
	bytes[4] = n;
	shorts[5] = n;
	wide = n;
	ext_big.a[9] = n;
}

const void *addresses(int n)
{
	switch (n) {
	case 0:
		return &ext_data;
	case 1:
		return &local_data;
	case 2:
		return ext_func;
	case 3:
		return local_func;
	case 4:
		return &ext_big.a[3];
	case 5:
		return strings[n & 1];
	}
	return 0;
}

int jump_table(int n)
{
	switch (n) {
	case 0:
		return ext_data;
	case 1:
		return ext_func(1, "a");
	case 2:
		ext_void();
		return 3;
	case 3:
		return local_data;
	case 4:
		return 99;
	case 5:
		ext_void();
		return ext_func(n, "b");
	case 6:
		return local_func(4);
	case 7:
		return n * 17;
	case 8:
		ext_func(n, "x");
		return 7;
	default:
		return -1;
	}
}

void *computed_goto(int n)
{
	static void *const labels[] = { &&a, &&b, &&c };

	goto *labels[n];
a:	ext_void();
b:	ext_func(3, "l");
c:	return 0;
}

int (*table[])(int n) = { local_func, calls, tail_call };
int (*const constant_table[])(int n, const char *text) = { ext_func };

struct {
	int (*open)(int n);
	const char *name;
	void *data;
} operations = { calls, "operations", &ext_data };

int indirect(int n)
{
	return table[n](n) + ext_pointer(n);
}

void copy(struct big *to, struct big *from)
{
	*to = *from;
	__builtin_memset(from, 0, sizeof(*from));
}

/* As the tables of BUG(), of alternatives and of exceptions are. */
void annotated(void)
{
	asm volatile("1: nop\n"
		     ".pushsection __bug_table, \"aw\"\n"
		     ".long 1b - .\n"
		     ".popsection\n"
		     ".pushsection __ksymtab, \"a\"\n"
		     ".balign 8\n"
		     ".quad ext_func - .\n"
		     ".popsection");
}

__attribute__((section(".init.text"), cold)) int init_text(int n)
{
	return ext_func(n, "init");
}

#ifdef __x86_64__
static int percpu_data __attribute__((section(".data..percpu")));

int percpu(void)
{
	int n;

	asm("movl %%gs:%1, %0" : "=r"(n) : "m"(percpu_data));
	asm volatile("addl $1, %%gs:%P0" : : "p"(&ext_data));
	return n;
}
#endif
