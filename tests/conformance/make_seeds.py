"""Generates scenarios and runs them on the conformance kit's oracle; make_seeds.sh calls it.

    make_seeds.py KIT DIR FIRST-LAST:SIZE...

Leaves DIR/seed-N-size-S.scn and .trace for every seed and size, and DIR/stamp, which tells what they were made from.
The oracle takes most of the time, so there are two of them, and none if the stamp is still right.
"""
import concurrent.futures
import hashlib
import os
import shutil
import sys


def read(path):
    with open(path, 'rb') as f:
        return f.read()


def write(path, data):
    with open(path, 'wb') as f:
        f.write(data)


def fingerprint(kit, blocks):
    """The same for the same scenarios and traces: all that they depend on."""
    lines = [sys.version, *blocks]
    for path in [__file__] + [os.path.join(kit, name) for name in ('generate.py', 'oracle.py', 'compare.py')]:
        lines.append('%s %s' % (os.path.basename(path), hashlib.sha256(read(path)).hexdigest()))
    return '\n'.join(lines).encode() + b'\n'


def cases(blocks):
    for block in blocks:
        seeds, size = block.split(':')
        first, last = map(int, seeds.split('-'))
        yield from ((seed, int(size)) for seed in range(first, last + 1))


def make(kit, directory, blocks):
    sys.path.insert(0, kit)
    import compare
    import generate

    def one(case):
        path = os.path.join(directory, 'seed-%d-size-%d' % case)
        write(path + '.scn', generate.generate(*case).encode())
        status, trace, err = compare.OracleServer.mine().run(path + '.scn')
        if status != 0:
            sys.exit('the oracle rejects seed %d, size %d, with status %d:\n%s' % (*case, status, err.decode()))
        write(path + '.trace', trace)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return len(list(pool.map(one, cases(blocks))))


def main():
    kit, directory, *blocks = sys.argv[1:]
    directory = os.path.abspath(directory)
    stamp = os.path.join(directory, 'stamp')
    want = fingerprint(kit, blocks)
    if os.path.exists(stamp) and read(stamp) == want:
        print('up to date: %s' % directory)
        return
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    print('%d scenarios and traces in %s' % (make(kit, directory, blocks), directory))
    write(stamp, want)


if __name__ == '__main__':
    main()
