from . import memory
import sys
d=memory.measure(sys.argv[1].split(",") if len(sys.argv)>1 else memory.KINDS, [int(a) for a in sys.argv[2].split(",")] if len(sys.argv)>2 else (4,), 2000)
print("\n".join(memory.table(d)))
