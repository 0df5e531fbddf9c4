"""Reports that prove the L2 bounds of their parts to both parties, who learn nothing else (PINE, Rothblum et al. 2023).

Pure logic. The vector is shared in a prime field, so that a sum of squares can be proved over it: a range check says
how large the sum is modulo the prime, random projections say that it did not wrap around, and a fully linear proof
(Boneh et al. 2019, as in the IETF's VDAF) says so to two parties who hold half of everything.
"""
