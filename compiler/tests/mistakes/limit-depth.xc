model m
input image 32 x 32 x 3
block b0() { if yes { if yes { b1() } } }
block b1() { if yes { if yes { b2() } } }
block b2() { if yes { if yes { b3() } } }
block b3() { if yes { if yes { b4() } } }
block b4() { if yes { if yes { b5() } } }
block b5() { if yes { if yes { b6() } } }
block b6() { if yes { if yes { b7() } } }
block b7() { if yes { if yes { b8() } } }
block b8() { if yes { if yes { b9() } } }
block b9() { if yes { if yes { b10() } } }
block b10() { if yes { if yes { b11() } } }
block b11() { if yes { if yes { b12() } } }
block b12() { if yes { if yes { b13() } } }
block b13() { if yes { if yes { b14() } } }
block b14() { if yes { if yes { b15() } } }
block b15() { if yes { if yes { b16() } } }
block b16() { if yes { if yes { b17() } } }
block b17() { if yes { if yes { b18() } } }
block b18() { if yes { if yes { b19() } } }
block b19() { if yes { if yes { b20() } } }
block b20() { if yes { if yes { b21() } } }
block b21() { if yes { if yes { b22() } } }
block b22() { if yes { if yes { b23() } } }
block b23() { if yes { if yes { b24() } } }
block b24() { if yes { if yes { b25() } } }
block b25() { if yes { if yes { b26() } } }
block b26() { if yes { if yes { b27() } } }
block b27() { if yes { if yes { b28() } } }
block b28() { if yes { if yes { b29() } } }
block b29() { if yes { if yes { b30() } } }
block b30() { if yes { if yes { b31() } } }
block b31() { if yes { if yes { b32() } } }
block b32() { if yes { if yes { b33() } } }
block b33() { if yes { if yes { b34() } } }
block b34() { if yes { if yes { b35() } } }
block b35() { if yes { if yes { b36() } } }
block b36() { if yes { if yes { b37() } } }
block b37() { if yes { if yes { b38() } } }
block b38() { if yes { if yes { b39() } } }
block b39() { if yes { if yes { b40() } } }
block b40() { relu }
b0()
