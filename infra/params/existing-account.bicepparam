// An existing account for mail, in another subscription, group and region. Nothing of it is changed but for a container,
// tables, roles and a lock.
using '../main.bicep'

param environmentName = 'existing'
param location = 'westeurope'
param principalId = '33333333-3333-3333-3333-333333333333'
param existingMailStorageId = '/subscriptions/44444444-4444-4444-4444-444444444444/resourceGroups/rg-archive/providers/Microsoft.Storage/storageAccounts/starchive'
