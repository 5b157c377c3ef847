// A container and tables in the mail's account, which may be new or existing. The settings of an existing account (soft
// delete, versions, lifecycle, network) are not changed.

param accountName string

@description('Container of all mail, and prefix of the tables\' names: letters and digits only.')
@minLength(3)
@maxLength(40)
param container string

@description('Lock the account against deletion.')
param lock bool

// The tables of shared/storage/base.py, Table; shared/storage/azure/records.py adds the container's name as prefix. A test
// compares them. The outbox is in the table of receipts (SHARED_TABLES).
@export()
var tableNames = [
  'receipts'
  'claims'
  'mailboxes'
  'subscriptions'
  'conversations'
]

resource account 'Microsoft.Storage/storageAccounts@2026-06-01' existing = {
  name: accountName
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2026-06-01' existing = {
  parent: account
  name: 'default'
}

resource mail 'Microsoft.Storage/storageAccounts/blobServices/containers@2026-06-01' = {
  parent: blobs
  name: container
  properties: {
    publicAccess: 'None'
  }
}

resource tableService 'Microsoft.Storage/storageAccounts/tableServices@2026-06-01' existing = {
  parent: account
  name: 'default'
}

resource tables 'Microsoft.Storage/storageAccounts/tableServices/tables@2026-06-01' = [
  for table in tableNames: {
    parent: tableService
    name: '${container}${table}'
  }
]

// Older versions of azd down, and other tools, delete the account's group. A lock stops them before they delete anything.
// Blobs and tables can still be deleted.
resource keepMail 'Microsoft.Authorization/locks@2020-05-01' = if (lock) {
  name: 'mailroom-mail'
  scope: account
  properties: {
    level: 'CanNotDelete'
    notes: 'Holds the mail that Mailroom collected. Remove this lock before you delete the account.'
  }
}
