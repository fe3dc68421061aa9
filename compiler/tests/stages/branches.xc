# test: plan vir --threads 2
# The first branch is written in place; the second ends within a vector and the third begins within one, so both are copied.
model branches
input map 2 x 3 x 4
concat {
    branch { conv 8, 1x1 }
    branch { maxpool 1x1; conv 5, 1x1 }
    branch { avgpool 1x1; conv 3, 1x1 }
}
