# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Reads what objdump -d says of s390 code. Fails if a function has no packed stack frame: all that call save r14 and r15, and
# the registers before them, with register n 24 + 8n above the caller's stack pointer (the ELF ABI has it at 8n).

function done() {
	if (calls && !saves)
		wrong(name " calls, and saves no registers")
}

function wrong(what) {
	print "packed-stack.awk: " what "; stacks with it cannot be walked" > "/dev/stderr"
	failed = 1
}

/^[0-9a-f]+ <.*>:$/ {
	done()
	name = $2
	calls = saves = 0
}

/\t(basr|bras|brasl)\t%r14,/ {
	calls = 1
}

/\tstmg\t%r[0-9]+,%r15,[0-9]+\(%r15\)/ {
	split($NF, number, /[^0-9]+/)
	saves = 1
	if (number[4] != 24 + 8 * number[2])
		wrong(name " has a frame of the ELF ABI")
}

END {
	done()
	if (name == "")
		wrong("no functions")
	exit failed
}
